// Names that the scan of the sources does not find: those that are no C identifiers.
// *FORMAT-OFF*
Q(/lib)
