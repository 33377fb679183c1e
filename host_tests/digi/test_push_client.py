"""tools/push_client.py, the documented command line, on CPython and on MicroPython's unix port."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET

import push_client
import pytest
import workshop
from workshop import processes
from digi_rig import PASSWORD, USER
from hypothesis import given
from hypothesis import strategies as st

TOOL = workshop.ROOT / "tools" / "push_client.py"
# From the document of 2012: option, default.
DOCUMENTED = [
    ("--topics TOPICS, -t TOPICS", "DeviceCore"),
    ("--host HOST, -a HOST", "my.idigi.com"),
    ("--insecure", "False"),
    ("--compression {none,gzip", "gzip"),
    ("--format {json,xml}, -f {json,xml}", "json"),
    ("--batchsize BATCHSIZE, -b BATCHSIZE", "1"),
    ("--batchduration BATCHDURATION, -d BATCHDURATION", "60"),
]


@pytest.fixture(params=["micropython", "cpython"])
def python(request):
    """The interpreter (list of str) that the tool is started with."""
    if request.param == "cpython":
        return [sys.executable]
    if not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    return [workshop.micropython()]


def environment(**more):
    """As a person's shell has it: nothing of ours."""
    kept = {"PATH", "HOME", "LANG"} & set(os.environ)
    return dict({name: os.environ[name] for name in kept}, **more)


def run(python, *arguments, timeout=60, env=None, **more):
    return subprocess.run(
        python + [str(TOOL)] + [str(argument) for argument in arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout,
        env=environment(**(env or {})),
        **more,
    )


class Listening:
    """The tool, started and connected. arguments: more than where to connect."""

    def __init__(self, python, digi, *arguments, secure=True):
        self.digi = digi
        before = set(digi.digi.monitors)
        command = python + [str(TOOL), USER, PASSWORD] + where(digi, secure)
        self.process = processes.Process(
            command + list(arguments), name="push_client", env=environment()
        )
        digi.wait(lambda: set(digi.digi.monitors) - before, "the monitor")
        (self.monitor,) = set(digi.digi.monitors) - before
        digi.wait(lambda: self.model.status == "ACTIVE" or self.process.rc is not None, "up")

    @property
    def model(self):
        return self.digi.monitor(self.monitor)

    def lines(self, end, timeout=15):
        """Lines of stdout up to one that is `end`."""
        lines = []
        while not lines or lines[-1] != end:
            lines.append(self.process.next_line(timeout))
        return lines

    def interrupt(self, number=signal.SIGINT):
        """Ctrl-C; the exit status."""
        self.process.signal(number)
        return self.process.wait(20)

    def err(self):
        return "\n".join(self.process.err)


@pytest.fixture
def listening():
    started = []

    def start(*arguments, **more):
        started.append(Listening(*arguments, **more))
        return started[-1]

    yield start
    for one in started:
        one.process.stop()
        print(one.process.tail(60))


def where(digi, secure=True):
    """Options that lead to the rig."""
    if secure:
        ports = ["--port", str(digi.https_port), "--push-port", str(digi.push_tls_port)]
        return ["--host", "localhost", "--ca", digi.ca_pem] + ports
    ports = ["--port", str(digi.http_port), "--push-port", str(digi.push_port)]
    return ["--host", "localhost", "--insecure"] + ports


# ---- the command line


@pytest.mark.parametrize("word", ["-h", "--help", "--he"])
def test_help_has_every_documented_option_and_default(python, word):
    done = run(python, word)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert text.startswith(
        "usage: push_client.py [-h] [--topics TOPICS] [--host HOST] [--insecure]\n"
        "                      [--compression {none,gzip"
    )
    assert "username [password]" in " ".join(text.split())
    entries = " ".join(text[text.index("optional arguments") :].split())
    for option, default in DOCUMENTED:
        entry = entries[entries.index(option) :]
        at = entry.index("(default: ")
        assert entry[at:].startswith("(default: {})".format(default))
        assert " --" not in entry[len(option) : at]  # it is this option's own
    assert max(map(len, text.splitlines())) < 80


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "username"),
        (["u", "p", "third-secret"], "at most"),
        (["u", "p", "--nonsense"], "--nonsense"),
        (["u", "p", "-x"], "-x"),
        (["u", "p", "--topics"], "--topics"),
        (["u", "p", "--topics", "--insecure"], "--topics"),
        (["u", "p", "--topics="], "--topics"),
        (["u", "p", "-c", "bzip2"], "'bzip2'"),
        (["u", "p", "--format=yaml"], "'yaml'"),
        (["u", "p", "-b", "many"], "'many'"),
        (["u", "p", "-b", "0"], "--batchsize"),
        (["u", "p", "-d", "-1"], "--batchduration"),
        (["u", "p", "--batch", "3"], "ambiguous"),
        (["u", "p", "--insecure=yes"], "--insecure"),
        (["u", "p", "--port", "70000"], "65535"),
        (["u"], "DIGI_PASSWORD"),
        (["u", ""], "DIGI_PASSWORD"),
    ],
)
def test_a_wrong_command_line_is_status_2(python, arguments, said):
    done = run(python, *arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    text = done.stderr.decode()
    assert text.startswith("usage: push_client.py ")
    last = text.splitlines()[-1]
    assert last.startswith("push_client.py: error: ") and said in last
    assert "secret" not in text


def test_forms_of_options():
    """As argparse takes them."""
    defaults = push_client.parse(["u", "p"])
    assert defaults == {
        "username": "u",
        "password": "p",
        "topics": "DeviceCore",
        "host": "my.idigi.com",
        "insecure": False,
        "compression": "gzip",
        "format": "json",
        "batchsize": 1,
        "batchduration": 60,
        "ca": None,
        "port": 0,
        "push_port": 0,
    }
    for words in (
        ["-t", "A,B"],
        ["-tA,B"],
        ["--topics", "A,B"],
        ["--topics=A,B"],
        ["--to", "A,B"],
    ):
        wanted = dict(defaults, topics="A,B")
        assert push_client.parse(words + ["u", "p"]) == wanted
        assert push_client.parse(["u"] + words + ["p"]) == wanted
        assert push_client.parse(["u", "p"] + words) == wanted
    assert push_client.parse(["--insecure", "u", "--", "-p"])["password"] == "-p"
    assert push_client.parse(["u"])["password"] is None
    assert push_client.parse(["-b12", "-d", "0", "u", "p"])["batchsize"] == 12
    assert push_client.parse(["--batchs", "3", "u"])["batchsize"] == 3
    assert push_client.parse(["--host", "h", "--push-port=9", "u"])["push_port"] == 9


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_command_line_is_understood_or_refused(words):
    try:
        options = push_client.parse(words)
    except push_client.UsageError as e:
        assert str(e)
    else:
        assert options is None or options["username"]


# ---- events


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "insecure"])
def test_events_are_printed_as_they_come_and_ctrl_c_cleans_up(python, digi, listening, secure):
    tool = listening(python, digi, "-t", "DataPoint", secure=secure)
    row = tool.model.row()
    assert row["monTopic"] == "DataPoint" and row["monCompression"] == "zlib"
    assert (row["monBatchSize"], row["monBatchDuration"]) == ("1", "60")
    assert row["monFormatType"] == "json"
    for value in (1, 'zwölf "\\ \n', 2.5, True):
        digi.point(value)
        text = "\n".join(tool.lines("}"))
        message = json.loads(text)
        assert message["Document"]["Msg"]["DataPoint"]["data"] == value
        assert text == json.dumps(message, sort_keys=True, indent=4, ensure_ascii=False)
    assert tool.interrupt() == 0
    assert tool.monitor not in digi.digi.monitors
    said = list(tool.process.err)
    assert said[0] == "Stopping: the session is closed, the monitor deleted."
    assert said[1].startswith("Received 4 messages in 4 blocks, ")
    assert said[2] == "Stopped."
    assert not list(tool.process.out)[-1].strip("}")


def test_batches_and_xml(python, digi, listening):
    tool = listening(
        python, digi, "--topics=DataPoint,Job[U]", "-b", "2", "-d5", "-fxml", "--compression=none"
    )
    row = tool.model.row()
    assert row["monTopic"] == "DataPoint,Job[U]"
    assert (row["monBatchSize"], row["monBatchDuration"]) == ("2", "5")
    assert (row["monCompression"], row["monFormatType"]) == ("none", "xml")
    digi.point("a < b & c")
    digi.point(2)
    lines = tool.lines("</Document>")
    assert lines[0] == "<Document>"
    assert lines[1].startswith('    <Msg topic="3/DataPoint/dev/n"')
    assert "        <DataPoint>" in lines
    assert "            <data>a &lt; b &amp; c</data>" in lines
    assert len(ET.fromstring("\n".join(lines)).findall("Msg")) == 2
    assert tool.interrupt() == 0
    assert "Received 2 messages in 1 block," in tool.err()


def test_an_older_monitor_with_the_same_topics_is_deleted(python, digi, listening):
    old, other = digi.make("Alarm"), digi.make("Job")
    tool = listening(python, digi, "-t", "Alarm")
    assert old not in digi.digi.monitors and other in digi.digi.monitors
    tool.interrupt()
    assert list(digi.digi.monitors) == [other]


def test_a_lost_connection_is_told_and_made_again(python, digi, listening):
    tool = listening(python, digi, "-t", "DataPoint")
    digi.cut()
    digi.wait(lambda: "connected again" in tool.err(), "the new connection")
    assert "trying again" in tool.err()
    digi.point(7)
    assert json.loads("".join(tool.lines("}")))["Document"]["Msg"]["DataPoint"]["data"] == 7
    assert tool.interrupt() == 0


def test_a_damaged_block_is_told(python, digi, listening):
    tool = listening(python, digi, "-t", "DataPoint")
    digi.fault("oversize", bytes=(1 << 20) + 1)
    digi.point(1)
    assert tool.lines("}")
    told = "block 65534 of 1048577 bytes was passed over"
    digi.wait(lambda: told in tool.err(), "what was passed over")
    assert tool.interrupt() == 0


def test_terminated_it_cleans_up_too(digi, listening):
    """On CPython: MicroPython has no signals but Ctrl-C's."""
    tool = listening([sys.executable], digi)
    assert tool.interrupt(signal.SIGTERM) == 0
    assert tool.monitor not in digi.digi.monitors


def test_output_that_nobody_reads_ends_it(python, digi):
    """As in `push_client.py ... | head -1`."""
    command = python + [str(TOOL), USER, PASSWORD, "-t", "DataPoint"] + where(digi)
    tool = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    try:
        digi.wait(lambda: digi.digi.connections, "its session")
        digi.wait(lambda: any(m.status == "ACTIVE" for m in digi.digi.monitors.values()))
        digi.point(1)
        assert tool.stdout.readline() == b"{\n"
        tool.stdout.close()
        end = time.monotonic() + 20
        while tool.poll() is None and time.monotonic() < end:
            digi.point(2)
            time.sleep(0.05)
        assert tool.poll() == 0
        assert b"Traceback" not in tool.stderr.read()
    finally:
        tool.kill()
        tool.wait()
        tool.stderr.close()
    assert not digi.digi.monitors


# ---- what goes wrong


def test_a_wrong_password_is_status_1(python, digi):
    done = run(python, USER, "quite-wrong-secret", *where(digi))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Monitor Could not be Retrieved (401): " in done.stderr
    assert b"secret" not in done.stderr and b"Traceback" not in done.stderr


def test_nobody_there_is_status_1(python):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        done = run(python, "u", "p", "-a", "127.0.0.1", "--insecure", "--port", port)
    assert done.returncode == 1
    assert b"can't connect to 127.0.0.1:%d" % port in done.stderr


def test_the_address_of_2012_gets_a_hint(python):
    done = run(python, "u", "p", "--host", "no-such-host.my.idigi.com")
    assert done.returncode == 1
    assert b"remotemanager.digi.com" in done.stderr


def test_a_foreign_certificate_is_status_1(python, digi):
    """Without --ca: the system's roots, of which the rig's CA is none."""
    ports = ["--port", str(digi.https_port), "--push-port", str(digi.push_tls_port)]
    done = run(python, USER, PASSWORD, "-a", "localhost", *ports)
    assert done.returncode == 1
    assert b"ca" in done.stderr and b"Traceback" not in done.stderr
    assert not digi.digi.monitors


def test_a_ca_file_that_is_none_is_status_1(python, digi, tmp_path):
    (tmp_path / "bad.pem").write_text("nonsense")
    for name in ("bad.pem", "missing.pem"):
        arguments = where(digi)
        arguments[3] = str(tmp_path / name)
        done = run(python, USER, PASSWORD, *arguments)
        assert done.returncode == 1
        assert b"--ca" in done.stderr and b"Traceback" not in done.stderr


def test_ssl_cert_file_is_heeded(python, digi):
    """The system's roots are where OpenSSL's variable says; a refused session ends it, cleanly."""
    digi.fault("refuse", status=400)
    ports = ["--port", str(digi.https_port), "--push-port", str(digi.push_tls_port)]
    env = {"SSL_CERT_FILE": digi.ca_pem}
    done = run(python, USER, PASSWORD, "-a", "localhost", *ports, env=env)
    assert done.returncode == 1
    assert b"Session refused (400)" in done.stderr
    assert not digi.digi.monitors


# ---- the password


def test_the_password_may_come_from_the_environment(python, digi):
    digi.fault("refuse", status=403)
    done = run(python, USER, *where(digi), env={"DIGI_PASSWORD": PASSWORD})
    assert done.returncode == 1
    assert b"Session refused (403)" in done.stderr  # so it was right for HTTP
    done = run(python, USER, *where(digi), env={"DIGI_PASSWORD": "wrong"})
    assert b"(401)" in done.stderr


class Terminal:
    """The tool at a pseudo-terminal. text: all that came so far."""

    def __init__(self, command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored if we run in the background
            os.execve(command[0], command, environment())
        self.text = ""
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while not self._ended:
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # its end
                return
            self.text += data.decode(errors="replace")

    def write(self, text):
        os.write(self.fd, text.encode())

    def wait(self, text, timeout=20):
        end = time.monotonic() + timeout
        while text not in self.text:
            assert time.monotonic() < end, "no {!r} in {!r}".format(text, self.text)
            time.sleep(0.01)

    def end(self, timeout=20):
        """Wait for it; the exit status."""
        end = time.monotonic() + timeout
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = None
                break
            assert time.monotonic() < end, "it runs on: {!r}".format(self.text)
            time.sleep(0.01)
        self._thread.join(1)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)

    def close(self):
        self._ended = True
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._thread.join(5)
        os.close(self.fd)


@pytest.fixture
def terminal():
    started = []

    def start(command):
        started.append(Terminal(command))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_at_a_terminal(python, digi, terminal):
    """It asks for the password without showing it, tells what it has received, heeds Ctrl-C."""
    tool = terminal(python + [str(TOOL), USER, "-t", "DataPoint"] + where(digi))
    tool.wait("Password: ")
    tool.write(PASSWORD + "\n")
    digi.wait(lambda: any(m.status == "ACTIVE" for m in digi.digi.monitors.values()), "up")
    digi.point(1)
    tool.wait("Received 1 message in 1 block, ")
    digi.point(2)
    tool.wait("Received 2 messages in 2 blocks, ")
    tool.write("\x03")
    assert tool.end() == 0
    assert (
        "Stopping: the session is closed, the monitor deleted." in tool.text
        and "Stopped." in tool.text
    )
    assert PASSWORD not in tool.text
    assert not digi.digi.monitors


def test_ctrl_c_at_the_prompt(python, digi, terminal):
    tool = terminal(python + [str(TOOL), USER] + where(digi))
    tool.wait("Password: ")
    tool.write("\x03")
    assert tool.end() == 130
    assert "Traceback" not in tool.text


# ---- printing


def tree(depth=3):
    names = st.sampled_from(["a", "Msg", "x1"])
    texts = st.text("ab &<>", max_size=6)
    leaf = st.tuples(names, texts)
    return st.recursive(
        leaf, lambda inner: st.tuples(names, st.lists(inner, max_size=3)), max_leaves=6
    )


def build(node):
    name, content = node
    element = ET.Element(name)
    if isinstance(content, str):
        element.text = content.strip() or None
    else:
        element.extend([build(child) for child in content])
    return element


def shape(element):
    return element.tag, (element.text or "").strip(), [shape(child) for child in element]


@given(tree())
def test_pretty_xml_means_the_same(node):
    element = build(node)
    text = ET.tostring(element, encoding="unicode")
    assert shape(ET.fromstring(push_client.pretty_xml(text))) == shape(element)


def test_pretty_xml_by_example():
    text = '<?xml version="1.0"?><D><M a="1"><x>1</x><y/><z></z></M>text</D>'
    assert push_client.pretty_xml(text).split("\n") == [
        '<?xml version="1.0"?>',
        "<D>",
        '    <M a="1">',
        "        <x>1</x>",
        "        <y/>",
        "        <z></z>",
        "    </M>",
        "    text",
        "</D>",
    ]
