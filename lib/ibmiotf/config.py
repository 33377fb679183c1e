"""Options from an INI file, for ParseConfigFile; loaded when that is called."""

from ibmiotf import ConfigurationException

_NUMBERS = ("port", "api-port", "max-packet")
_WORDS = {"true": True, "false": False}


def read(path, section):
    """
    Return the options of [section], or of all lines when the file has no section line at all.

    section: "device" or "application"; their documented keys are None when missing. Numbers and
    true/false become what the options dict wants; `typ` is another word for `type`.
    Raises ConfigurationException, with what to change.
    """
    options = dict.fromkeys(("org", "id", "auth-method", "auth-token"))
    options["type" if section == "device" else "auth-key"] = None
    here = None  # the section we are in; none is as good as ours
    found = False
    number = 0
    try:
        with open(path) as f:
            for line in f:
                number += 1
                line = line.strip()
                if line[:1] == "[":
                    here = line[1:].partition("]")[0].strip()
                elif line and line[0] not in "#;" and here in (None, section):
                    key, sep, value = line.partition("=")
                    key = key.strip().lower()
                    if not (sep and key):
                        # The line itself may hold a token: it isn't shown.
                        raise ConfigurationException(
                            "%s, line %d: must be key=value" % (path, number)
                        )
                    options["type" if key == "typ" else key] = _value(key, value.strip())
                    found = True
    except (OSError, UnicodeError) as e:
        raise ConfigurationException("Error reading configuration file %s: %s" % (path, e))
    if not found:
        raise ConfigurationException("%s has no [%s] section" % (path, section))
    return options


def _value(key, value):
    if key in _NUMBERS:
        try:
            return int(value)
        except ValueError:
            raise ConfigurationException("%s: must be a number" % key)
    if key in ("ssl", "clean-session"):
        value = _WORDS.get(value.lower())
        if value is None:
            raise ConfigurationException("%s: must be true or false" % key)
    return value
