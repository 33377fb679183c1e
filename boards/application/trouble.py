"""
What went wrong, kept for the next connection: the last error of each kind in RAM, and what led to
a restart in a file.
"""

import os

_FILE = "last_error.txt"
_LONGEST = 200  # characters of a text


def keep(e):
    """Write down what leads to a restart. Never raises: a full file system must not prevent it."""
    try:
        with open(_FILE, "w") as f:
            f.write(_text(e))
    except OSError as error:
        print("trouble:", error)


def _text(e):
    return ("%s: %s" % (type(e).__name__, e.args[-1] if e.args else ""))[:_LONGEST]


class Trouble:
    """note() what goes wrong, take() it all when somebody can be told."""

    def __init__(self):
        self._last = {}
        try:
            with open(_FILE) as f:
                self._last["restart_error"] = f.read()
        except (OSError, ValueError):
            pass

    def note(self, what, e):
        """Keep the last error of a kind ("connection"), and print it when it is another one."""
        text = _text(e)
        if self._last.get(what + "_error") != text:
            self._last[what + "_error"] = text
            print("%s: %s" % (what, text))

    def take(self):
        """All of it as {name: text}; forgotten here, the file too."""
        said, self._last = self._last, {}
        if "restart_error" in said:
            try:
                os.remove(_FILE)
            except OSError:
                pass
        return said
