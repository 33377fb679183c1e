"""Mutants of lib/: small faults made on purpose, to see whether the tests notice."""
