"""Options from an INI file, for ParseConfigFile; loaded when that is called, and let go."""

from ibmiotf import ConfigurationException
from netstream import load_once

_BOM = "\ufeff"  # editors on Windows put a byte order mark before the first line


def _entry(line, place):
    # (key, value) of one line, as the options dict wants them.
    key, sep, value = line.partition("=")
    key = key.strip().lower()
    if not (sep and key):
        # The line itself may hold a token: it isn't shown.
        raise ConfigurationException(place + ": must be key=value")
    return key, value.strip()


def _in_section(lines, path, section, options):
    # Puts what [section] holds into options; returns whether there was anything. Lines before the
    # first section line count as ours.
    here = None
    found = False
    number = 0
    for line in lines:
        number += 1
        if number == 1 and line[:1] == _BOM:
            line = line[1:]
        line = line.strip()
        if line[:1] == "[":
            here = line[1:].partition("]")[0].strip()
        elif line and line[0] not in "#;" and here in (None, section):
            key, value = _entry(line, "%s, line %d" % (path, number))
            options[key] = value
            found = True
    return found


def read(path, section):
    """
    Return the options of [section], or of all lines when the file has no section line at all.

    section: "device" or "application"; their documented keys are None when missing. Numbers and
    true/false become what the options dict wants; `typ` is another word for `type`. A byte order
    mark is passed over. Raises ConfigurationException, with what to change.
    """
    options = dict.fromkeys(("org", "id", "auth-method", "auth-token"))
    options["type" if section == "device" else "auth-key"] = None
    try:
        with open(path) as f:
            found = _in_section(f, path, section, options)
    except (OSError, UnicodeError) as e:
        raise ConfigurationException("Error reading configuration file %s: %s" % (path, e))
    if not found:
        raise ConfigurationException("%s has no [%s] section" % (path, section))
    try:
        return load_once("ibmiotf.options").settled(options)
    except ValueError as e:
        raise ConfigurationException(str(e))
