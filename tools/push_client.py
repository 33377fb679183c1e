"""
Digi's push client as documented in 2012, on CPython and on the MicroPython unix port: makes a
monitor, prints the events that it pushes, and deletes it again at the end (Ctrl-C).

    python3 tools/push_client.py alice          or    micropython tools/push_client.py alice

--help tells the rest. Events go to stdout, everything else to stderr. Exit status: 0 after Ctrl-C
or when nobody reads the output any more, 1 when the service can't be reached or refuses, 2 for a
wrong command line. It needs nothing but lib/: no environment is set up.
"""

import json
import os
import sys

NAME = "push_client.py"
OLD_HOST = "my.idigi.com"
PASSWORD_VARIABLE = "DIGI_PASSWORD"

# (long option, its letter, placeholder, choices or type, default, help). Up to --batchduration
# they are those of the sample of 2012, the rest is ours.
OPTIONS = (
    (
        "topics",
        "t",
        "TOPICS",
        None,
        "DeviceCore",
        "What to hear of: topics with commas between them.",
    ),
    ("host", "a", "HOST", None, OLD_HOST, "The service's host name."),
    ("insecure", None, None, bool, False, "Speak HTTP and plain TCP, the password readable."),
    (
        "compression",
        "c",
        None,
        ("none", "gzip", "zlib"),
        "gzip",
        "How blocks are packed; zlib is today's name for gzip.",
    ),
    ("format", "f", None, ("json", "xml"), "json", "What events are written in."),
    (
        "batchsize",
        "b",
        "BATCHSIZE",
        int,
        1,
        "Messages that make a block full.",
    ),
    (
        "batchduration",
        "d",
        "BATCHDURATION",
        int,
        60,
        "Seconds until a block is sent that isn't full.",
    ),
    ("ca", None, "FILE", None, None, "The service's root certificates, PEM or DER."),
    ("port", None, "N", int, 0, "HTTPS or HTTP port; 0 is 443, insecure 80."),
    ("push-port", None, "N", int, 0, "Push port; 0 is 3201, insecure 3200."),
)
# Where systems keep the root certificates that they trust.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/opt/homebrew/etc/openssl@3/cert.pem",
)
MAX_BLOCK = 1 << 20  # bytes of a block as it comes,
MAX_DATA = 1 << 22  # and decompressed: a file of 120 KB, as base64, several in a batch


class UsageError(Exception):
    """A wrong command line; the text says what is wrong with it."""


class OutputClosed(Exception):
    """Nobody reads what we print."""


# ---- the command line


def usage():
    """The short form, as argparse would print it."""
    parts = ["[-h]"]
    for name, _, placeholder, kind, _, _ in OPTIONS:
        value = "" if kind is bool else " " + (placeholder or "{" + ",".join(kind) + "}")
        parts.append("[--{}{}]".format(name, value))
    lines = ["usage: " + NAME]
    for part in parts + ["username", "[password]"]:
        if len(lines[-1]) + 1 + len(part) > 79:
            lines.append(" " * (7 + len(NAME)))
        lines[-1] += " " + part
    return "\n".join(lines)


def help_text():
    """What --help prints."""
    lines = [
        usage(),
        "",
        "Prints the events that a Digi push monitor sends, until Ctrl-C.",
        "",
        "positional arguments:",
    ]
    lines += _entry("username", "Whose monitors.")
    text = "Without it: what {} in the environment says, or a prompt."
    lines += _entry("password", text.format(PASSWORD_VARIABLE))
    lines += ["", "optional arguments:"]
    lines += _entry("-h, --help", "Show this.")
    for name, letter, placeholder, kind, default, text in OPTIONS:
        value = "" if kind is bool else " " + (placeholder or "{" + ",".join(kind) + "}")
        head = "--" + name + value
        if letter:
            head += ", -" + letter + value
        shown = "the system's" if name == "ca" else default
        lines += _entry(head, "{} (default: {})".format(text, shown))
    return "\n".join(lines)


def _entry(head, text):
    lines = ["  " + head]
    column = 24
    if len(lines[0]) > column - 2:
        lines.append(" " * (column - 1))
    else:
        lines[0] += " " * (column - 1 - len(lines[0]))
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > 79:
            lines.append(" " * (column - 1))
        lines[-1] += " " + word
    return lines


def parse(arguments):
    """
    Read the command line (list of str, without the program's name).

    Returns a dict: username, password (None if not given), and each option with "_" for "-"; None
    when help is asked for. Raises UsageError.
    """
    options = {name.replace("-", "_"): default for name, _, _, _, default, _ in OPTIONS}
    positional = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":
            positional += left
            break
        if word[:1] != "-" or word == "-":
            positional.append(word)
            continue
        if word == "-h" or (len(word) > 3 and "--help".startswith(word)):
            return None
        name, kind, value = _option(word)
        if kind is bool:
            if value is not None:
                raise UsageError("argument --{}: takes no value".format(name))
            value = True
        else:
            if value is None:
                if not left or (left[0][:1] == "-" and len(left[0]) > 1):
                    raise UsageError("argument --{}: expected one argument".format(name))
                value = left.pop(0)
            value = _checked(name, kind, value)
        options[name.replace("-", "_")] = value
    if not positional or not positional[0]:
        raise UsageError("the following arguments are required: username")
    if len(positional) > 2:
        # Not named: the second one may well be a password.
        raise UsageError("at most username and password are expected, besides options")
    options["username"] = positional[0]
    options["password"] = positional[1] if len(positional) > 1 else None
    return options


def _option(word):
    # (name, kind, value or None) of "-tX", "--topics=X", or an unmistakable beginning of it.
    value = None
    if word[:2] == "--":
        name, equals, rest = word[2:].partition("=")
        if equals:
            value = rest
        found = [entry for entry in OPTIONS if entry[0] == name]
        found = found or [entry for entry in OPTIONS if entry[0].startswith(name)]
    else:
        found = [entry for entry in OPTIONS if entry[1] == word[1]]
        name = word[1]
        value = word[2:] or None
    if len(found) != 1:
        known = "ambiguous" if found else "unknown"
        dashes = "--" if word[:2] == "--" else "-"
        raise UsageError("{} option: {}{}".format(known, dashes, name))
    return found[0][0], found[0][3], value


def _checked(name, kind, value):
    if isinstance(kind, tuple) and value not in kind:
        raise UsageError(
            "argument --{}: invalid choice: '{}' (choose from {})".format(
                name, value, ", ".join("'" + choice + "'" for choice in kind)
            )
        )
    if kind is int:
        low = 1 if name == "batchsize" else 0
        high = 65535 if name.endswith("port") else 999999999
        try:
            number = int(value)
        except ValueError:
            raise UsageError("argument --{}: invalid int value: '{}'".format(name, value))
        if not low <= number <= high:
            raise UsageError("argument --{}: must be {} to {}".format(name, low, high))
        return number
    if not value:
        raise UsageError("argument --{}: must not be empty".format(name))
    return value


# ---- the password


def ask_password():
    """Ask at the terminal, without echo. Raises UsageError where there is none."""
    if sys.implementation.name != "micropython":
        if not sys.stdin.isatty():
            raise UsageError(_no_password())
        import getpass

        return getpass.getpass("Password: ")
    try:
        import termios

        before = termios.tcgetattr(0)
    except (ImportError, OSError):
        raise UsageError(_no_password())
    quiet = list(before)
    quiet[3] = before[3] & ~8  # c_lflag without ECHO
    termios.tcsetattr(0, termios.TCSANOW, quiet)
    try:
        sys.stderr.write("Password: ")
        return sys.stdin.readline().rstrip("\n")
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)
        sys.stderr.write("\n")


def _no_password():
    return "no password: give it as second argument or in {}, or start at a terminal".format(
        PASSWORD_VARIABLE
    )


# ---- printing


def say(text):
    """A line for the person at the screen."""
    sys.stderr.write(text + "\n")


def out(text):
    """A line of output. Raises OutputClosed when it can't be written."""
    try:
        print(text)
        if hasattr(sys.stdout, "flush"):
            sys.stdout.flush()
    except OSError as e:
        if hasattr(os, "dup2"):
            # What is buffered still would be tried, and told of, once more at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise OutputClosed(str(e))


def pretty_xml(text):
    """XML with each element on its own line, indented by four; a text stays within its tags."""
    lines = []
    depth = 0
    at = 0
    opened = False  # the last line ends with an opening tag
    while at < len(text):
        start = text.find("<", at)
        start = len(text) if start < 0 else start
        words = text[at:start].strip()
        end = text.find(">", start) + 1
        tag = text[start:end] if end else text[start:]
        at = end or len(text)
        if words and not opened:
            lines.append("    " * depth + words)
        if tag[:2] == "</":
            depth -= 1
            if opened:
                lines[-1] += words + tag
            else:
                lines.append("    " * depth + tag)
            opened = False
        elif tag:
            if words and opened:
                lines.append("    " * depth + words)
            lines.append("    " * depth + tag)
            opened = tag[-2:] != "/>" and tag[:2] not in ("<?", "<!")
            depth += opened
    return "\n".join(lines)


class Printer:
    """
    A session's callback and hooks: prints each block, counts, and tells of what goes wrong.

    closed: nobody reads the output any more. fatal: an exception that trying again won't cure.
    """

    def __init__(self, format_type, refusals, pretty):
        self.format_type = format_type
        self.refusals = refusals
        self.pretty = pretty
        self.blocks = self.messages = self.bytes = 0
        self.closed = False
        self.fatal = None
        self.lost = False
        self.live = _is_terminal(2)

    def attach(self, session):
        session.on_up = self.on_up
        session.on_down = self.on_down
        session.on_skip = self.on_skip

    def on_block(self, data):
        self.blocks += 1
        self.bytes += len(data)
        if self.format_type == "json":
            try:
                value = json.loads(data)
                inner = value["Document"]["Msg"]
                self.messages += len(inner) if isinstance(inner, list) else 1
                text = self.pretty(value)
            except (ValueError, KeyError, TypeError):
                text = str(data, "utf-8")  # as it came
        else:
            text = str(data, "utf-8")
            self.messages += sum(text.count(tag) for tag in ("<Msg>", "<Msg ", "<Msg/"))
            text = pretty_xml(text)
        self.wipe()
        try:
            out(text)
        except OutputClosed:
            self.closed = True
            return False
        self.progress()
        return True

    def on_skip(self, block_id, size, why):
        what = "a message" if block_id is None else "block {}".format(block_id)
        self.tell("{} of {} bytes was passed over: {}".format(what, size, reason(why)))

    def on_up(self):
        if self.lost:
            self.tell("connected again")
        self.lost = False

    def on_down(self, error):
        if not isinstance(error, Exception):
            return  # Ctrl-C: it comes out of do_next() as well
        if isinstance(error, self.refusals):
            self.fatal = error
        elif not self.lost:
            self.tell(reason(error) + "; trying again")
        self.lost = True

    def tell(self, text):
        self.wipe()
        say("{}: {}".format(NAME, text))

    def summary(self):
        """What was received, in words."""
        return "Received {} message{} in {} block{}, {} bytes.".format(
            self.messages,
            "" if self.messages == 1 else "s",
            self.blocks,
            "" if self.blocks == 1 else "s",
            self.bytes,
        )

    def progress(self):
        if self.live:
            sys.stderr.write("\r" + self.summary())

    def wipe(self):
        if self.live:
            sys.stderr.write("\r" + " " * 60 + "\r")


def _is_terminal(number):
    if sys.implementation.name != "micropython":
        return os.isatty(number)
    try:
        import termios

        termios.tcgetattr(number)
        return True
    except (ImportError, OSError):
        return False


# ---- the work


def load_client():
    """
    The modules idigi_monitor_api, netstream and idigi_pretty of lib/: on CPython through
    cpython_port.
    """
    here = __file__.replace("\\", "/").rpartition("/")[0] or "."
    lib = here + "/../lib"
    if sys.implementation.name == "micropython":
        sys.path.insert(0, lib)
        import idigi_monitor_api
        import idigi_pretty
        import netstream

        return idigi_monitor_api, netstream, idigi_pretty
    sys.path.insert(0, here)
    from cpython_port import Port

    port = Port([lib])
    return [port.load(name) for name in ("idigi_monitor_api", "netstream", "idigi_pretty")]


def find_ca():
    """The system's file of root certificates, or None."""
    given = os.getenv("SSL_CERT_FILE")
    for path in ((given,) if given else ()) + BUNDLES:
        try:
            open(path, "rb").close()
            return path
        except OSError:
            pass
    return None


def listen(api, netstream, pretty, options):
    """Make the monitor, print until the end, clean up. Returns the exit status."""
    host = options["host"]
    try:
        client = api.push_client(
            options["username"],
            options["password"],
            hostname=host,
            secure=not options["insecure"],
            ca_certs=options["ca"] or find_ca(),
            port=options["port"] or None,
            push_port=options["push_port"] or None,
            max_block=MAX_BLOCK,
            max_data=MAX_DATA,
            threads=False,
        )
    except ValueError as e:
        say("{}: {} (--ca)".format(NAME, e))
        return 1
    monitor = None
    # A refusal or a certificate won't be better the next time.
    refusals = api.MonitorError, netstream.TLSError
    printer = Printer(options["format"], refusals, pretty.pretty)
    status = 130
    try:
        topics = options["topics"].split(",")
        old = client.get_monitor(topics)
        if old is not None:
            client.delete_monitor(old)
        monitor = client.create_monitor(
            topics,
            options["batchsize"],
            options["batchduration"],
            options["compression"],
            options["format"],
        )
        status = 0
        printer.attach(client.create_session(printer.on_block, monitor))
        while not printer.closed:
            client.do_next(500)
            if printer.fatal:
                raise printer.fatal
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError, api.MonitorError) as e:
        printer.wipe()
        status = failed(host, e)
    try:
        return clean_up(client, monitor, printer, status)
    except KeyboardInterrupt:
        say("\n{}: interrupted; monitor {} is left behind".format(NAME, monitor))
        return 130


def clean_up(client, monitor, printer, status):
    """End the session, delete the monitor. Returns the exit status, `status` if all went well."""
    printer.wipe()
    if monitor is None:
        return status
    if not status:
        say("Stopping: the session is closed, the monitor deleted.")
    client.stop_all()
    try:
        client.delete_monitor(monitor)
    except Exception as e:
        say("{}: monitor {} is left behind: {}".format(NAME, monitor, reason(e)))
        return 1
    say(printer.summary())
    if not status:
        say("Stopped.")
    return status


def failed(host, error):
    """Say why; returns the exit status."""
    say("{}: {}".format(NAME, reason(error)))
    if host.endswith("idigi.com"):
        say("({} is the address of 2012; today's is --host remotemanager.digi.com)".format(host))
    return 1


def reason(error):
    """An exception's text without Python's trimmings."""
    if isinstance(error, OSError) and len(error.args) > 1:
        return str(error.args[1])
    return str(error) or type(error).__name__


def main(arguments):
    """The program; returns its exit status."""
    try:
        options = parse(arguments)
        if options is None:
            print(help_text())
            return 0
        if options["password"] is None:
            options["password"] = os.getenv(PASSWORD_VARIABLE)
        if options["password"] is None:
            options["password"] = ask_password()
        if not options["password"]:
            raise UsageError(_no_password())
    except UsageError as e:
        say(usage())
        say("{}: error: {}".format(NAME, e))
        return 2
    except (KeyboardInterrupt, EOFError):
        say("")
        return 130
    try:
        return listen(*load_client(), options)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    if sys.implementation.name != "micropython":
        # Ended by `kill` or a closed terminal it cleans up as well (MicroPython has no signals).
        import signal

        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
