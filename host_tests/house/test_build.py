"""
tools/build.py: what a board gets is the same program as lib/, smaller, and the same bytes each
time.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import build
import pytest
import services
import workshop
from workshop import packages
from building import apart, explain, firmware, joined, outputs, private, texts, umqtt
from building.source import Source

SERVICES = [service for service in services.SERVICES if service.rows]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(the directory, the list of outputs.Built) of everything."""
    output = tmp_path_factory.mktemp("build")
    return output, build.build(output=output)


def run(program, path, tmp_path, timeout=30, kind="micropython"):
    """Run a program on MicroPython with these directories and nothing else; its output."""
    if not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    script = tmp_path / "program.py"
    script.write_text(program)
    done = subprocess.run(
        workshop.device_command(script, kind=kind),
        env=dict(os.environ, MICROPYPATH=":".join(map(str, path)) + ":.frozen"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- what comes out ---


@pytest.mark.parametrize("service", SERVICES, ids=lambda one: one.name)
def test_one_file_is_enough_for_the_import(service, built, tmp_path):
    """With umqtt.simple, which is another project's; and it is all that stays loaded."""
    output, all_built = built
    (made,) = [one for one in all_built if one.services == [service]]
    main = service.imports[0]
    for path in (made.one_file(service), "umqtt/simple.mpy"):
        if path in made.files:
            (tmp_path / "lib" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "lib" / path).write_bytes(made.files[path])
    program = "import sys, {0}\nprint(sorted(sys.modules))\n".format(service.rows[0])
    for module in packages.resident(service):
        if module not in services.joining():
            program += "import {0}\nprint(sys.modules[{0!r}])\n".format(module)
    out = run(program, [tmp_path / "lib"], tmp_path)
    assert "'{}'".format(main) in out


@pytest.mark.parametrize("first", ["mqtt_link", "netstream", "websocket_stream"])
def test_a_part_may_be_imported_before_the_file_that_holds_it(first, built, tmp_path):
    output, _ = built
    out = run(
        "import {}\nimport iotc, mqtt_link, netstream\n"
        "from mqtt_link import MQTTLink, Full\nfrom netstream import NetStream, TLSError\n"
        "print(iotc.MQTTLink is MQTTLink, MQTTLink.__name__)".format(first),
        [output / "iotc"],
        tmp_path,
    )
    assert out == "True MQTTLink\n"


# Names that a module makes when they are asked for, by its __getattr__().
MADE_WHEN_ASKED = {
    "cloud": ("Device", "Watcher", "check"),
    "iotc": ("IOTConnectType", "IOTConnectionState"),
    "teamviewer_iot": ("ConfigError", "InputError", "TvcmiError"),
}


def check_parts(made, path, tmp_path):
    """Each part by itself, imported before anything else, has the public names it has in lib/."""
    parts = {part for service in made.services for part in packages.resident(service)}
    for part in sorted(parts - services.joining()):
        top = Source(part, packages.modules()[part]).top
        names = [name for name in top if top[name] == ("own",) and name[0] != "_"]
        if "__getattr__" in top:
            names += MADE_WHEN_ASKED[part]
        program = "import {0}\nfor name in {1!r}:\n    getattr({0}, name)\nprint('all')"
        assert run(program.format(part, names), [path], tmp_path) == "all\n", part


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda one: one.name)
def test_each_part_has_its_names_when_it_is_imported_first(service, built, tmp_path):
    output, all_built = built
    (made,) = [one for one in all_built if one.services == [service]]
    check_parts(made, output / made.name, tmp_path)


@pytest.mark.parametrize(
    "chosen",
    [
        ("azure_files", "digi"),  # the link stays in the client's file, netstream does not
        ("azure_files", "cloud_mqtt"),  # one of the client's parts asks for an inner one elsewhere
        ("teamviewer", "cloud_azure"),
        (),
    ],
    ids=lambda one: "+".join(one) or "all",
)
def test_each_part_of_a_build_together_has_its_names_when_it_is_imported_first(chosen, tmp_path):
    (made,) = build.build(chosen, tmp_path / "out", together=True)
    check_parts(made, tmp_path / "out" / made.name, tmp_path)


def test_every_file_of_a_service_can_be_imported(built, tmp_path):
    output, all_built = built
    for made in all_built:
        names = [module.name for module in made.modules.values()]
        program = "import sys\nfor name in {!r}:\n    __import__(name)\nprint('all')".format(names)
        assert run(program, [output / made.name], tmp_path) == "all\n"


def test_public_names_of_a_part_that_mean_something_else_to_the_service(built, tmp_path):
    """teamviewer_iot has a TLSError of its own; netstream's is still netstream's."""
    output, _ = built
    out = run(
        "import teamviewer_iot\nfrom netstream import TLSError, NetStream\n"
        "print(TLSError is teamviewer_iot.TLSError, issubclass(TLSError, OSError),"
        " issubclass(teamviewer_iot.TLSError, teamviewer_iot.TvcmiError))",
        [output / "teamviewer_iot"],
        tmp_path,
    )
    assert out == "False True True\n"


def test_two_services_together_hold_the_link_once(tmp_path):
    (made,) = build.build(["azure", "ibm"], tmp_path / "out", together=True)
    assert {"mqtt_link.mpy", "iotc.mpy", "ibmiotf/__init__.mpy"} <= set(made.files)
    out = run(
        "import iotc, ibmiotf.device, mqtt_link\n"
        "print(iotc.MQTTLink is mqtt_link.MQTTLink is ibmiotf.MQTTLink)",
        [tmp_path / "out" / made.name],
        tmp_path,
    )
    assert out == "True\n"


def test_a_romfs_image_holds_the_same_files(built, tmp_path):
    output, _ = built
    out = run(
        "import sys, vfs\n"
        "vfs.mount(vfs.VfsRom(open({!r}, 'rb').read()), '/rom')\n"
        "sys.path[:] = ['/rom/lib']\n"
        "import iotc, iotc_dps, websocket_stream, mqtt_link\nprint(iotc)".format(
            str(output / "iotc.romfs")
        ),
        [tmp_path],
        tmp_path,
    )
    assert out == "<module 'iotc' from '/rom/lib/iotc.mpy'>\n"


def test_mip_installs_from_the_index(built, tmp_path):
    output, all_built = built
    handler = partial(SimpleHTTPRequestHandler, directory=str(output / "mip"))
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        run(
            "import mip\nmip.install('iotc', index='http://127.0.0.1:{}', target={!r})".format(
                server.server_address[1], str(tmp_path / "board")
            ),
            [tmp_path],
            tmp_path,
        )
    finally:
        server.shutdown()
        server.server_close()
    (made,) = [one for one in all_built if one.name == "iotc"]
    there = {
        path.relative_to(tmp_path / "board").as_posix(): path.read_bytes()
        for path in (tmp_path / "board").rglob("*.mpy")
    }
    assert there == made.files


def test_the_same_sources_make_the_same_bytes(built, tmp_path):
    output, _ = built
    done = subprocess.run(
        [sys.executable, str(workshop.ROOT / "tools" / "build.py"), "--output", str(tmp_path)],
        env=dict(os.environ, PYTHONHASHSEED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert content(tmp_path) == content(output)


def content(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


# --- the table of names ---


def test_every_firmware_holds_the_names():
    outputs.check_table()


def test_a_name_that_no_firmware_holds_is_found_out():
    assert firmware.held(["ValueError", "greenhouse"], outputs.MPY_CROSS) == ["ValueError"]


NAMES_COST = """
import micropython
class Thing:
    pass
for name in NAMES.split():
    micropython.qstr_info()
    setattr(Thing, str(name, "utf-8"), 0)
    micropython.qstr_info()
"""


def new_names(out):
    """How many names of the program above were new to the firmware, name by name."""
    counts = [int(found) for found in re.findall("n_qstr=([0-9]+)", out)]
    return [after - before for before, after in zip(counts[::2], counts[1::2])]


@pytest.mark.parametrize("kind", ["micropython", "micropython32", "wasm"])
def test_a_name_of_the_table_costs_a_board_nothing(kind, tmp_path, heap32):
    names = firmware.NUMBERED + firmware.SPELT + ("greenhouse",)
    program = NAMES_COST.replace("NAMES", repr(" ".join(names).encode()))
    if kind == "wasm":
        out = "\n".join(heap32.run(program, files={}).out)
    else:
        try:
            out = run(program, [tmp_path], tmp_path, kind=kind)
        except workshop.SetupError as error:
            pytest.skip(str(error))
    assert new_names(out) == [0] * (len(names) - 1) + [1]


def test_attributes_and_globals_have_different_names():
    """The body of a class sees both."""
    assert not set(firmware.FOR_ATTRIBUTES) & set(firmware.FOR_GLOBALS)


# --- renaming: what it must leave alone ---


def renamed(tmp_path, *, foreign=(), join=None, inner=(), **files):
    """Sources of a little lib/ -> ({module: new text}, its private.Names)."""
    sources = {}
    for module, text in files.items():
        path = tmp_path / (module + ".py")
        path.write_text(text)
        sources[module] = Source(module, path)
    names = private.Names(sources, [join or []], foreign, inner)
    texts = {}
    elsewhere = {}
    if join:
        elsewhere = joined.hidden(join[-1], join, names, sources)
        made = joined.joined(join[-1], join, names, sources)
        texts[join[-1]] = made.source
    for module in files:
        if module not in (join or ()):
            texts[module] = joined.alone(sources[module], names, sources, elsewhere).source
    return texts, names


def result(texts, program):
    """What `program` leaves in `out`, with these modules (on this Python)."""
    code = "import sys, types\n"
    before = dict(sys.modules)
    try:
        for name, text in texts.items():
            module = type(sys)(name)
            module.__dict__["const"] = lambda value: value
            sys.modules[name] = module
            module.__dict__["__source__"] = text
            exec(compile(text, name, "exec"), module.__dict__)
        space = {}
        exec(code + program, space)
        return space["out"]
    finally:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]


def test_private_names_change_and_public_ones_stay(tmp_path):
    texts, names = renamed(
        tmp_path,
        thing='''
"""A docstring."""
_LIMIT = [1, 2]
def _double(number):
    return number * 2
class Thing:
    size = 3
    _count = 0
    def grow(self, by):
        """More of it."""
        self._count += _double(by)
        return self._count + len(_LIMIT) + self.size
''',
    )
    text = texts["thing"]
    assert "_count" not in text and "_double" not in text and "_LIMIT" not in text
    assert "docstring" not in text and "More of it" not in text
    assert "def grow(self, by):" in text and "size = 3" in text
    assert result(texts, "import thing\nout = thing.Thing().grow(by=5)") == 15


def test_a_name_in_a_string_stays(tmp_path):
    texts, names = renamed(
        tmp_path,
        thing="""
class Thing:
    _a = 1
    _b = 2
    def get(self, name):
        return getattr(self, name)
    def both(self):
        return self.get("_a") + self._a + self._b
""",
    )
    assert "_a" in texts["thing"] and "_b" not in texts["thing"]
    assert result(texts, "import thing\nout = thing.Thing().both()") == 4


def test_keyword_arguments_stay(tmp_path):
    texts, _ = renamed(
        tmp_path,
        thing="""
def _make(first, second=2, **more):
    return first, second, more
def tell(f, **given):
    return f(**given)
class _Box:
    def __init__(self, width, height):
        self.area = width * height
def out():
    told = tell(f=lambda second: second, second=5)
    return _make(1, second=3, third=4), _Box(2, height=3).area, told
""",
    )
    assert result(texts, "import thing\nout = thing.out()") == ((1, 3, {"third": 4}), 6, 5)


def test_names_shared_by_files_change_together(tmp_path):
    files = dict(
        low="""
_table = {"a": 1}
def _find(key):
    return _table[key]
class Device:
    def __init__(self):
        self._hub = None
""",
        high="""
from low import _find, Device
def register(device):
    device._hub = _find("a")
    return device._hub
""",
    )
    for join in (None, ["low", "high"]):
        texts, names = renamed(tmp_path, join=join, **files)
        assert "_hub" in names.attributes
        assert result(texts, "import high, low\nout = high.register(low.Device())") == 1


def test_a_module_s_private_name_set_from_outside(tmp_path):
    texts, _ = renamed(
        tmp_path,
        low="def _setup():\n    return 1\ndef go():\n    return _setup()\n",
        high="import low\n_load = low._setup\nlow._setup = lambda: _load() + 1\n",
    )
    assert result(texts, "import low, high\nout = low.go()") == 2


def test_scopes_are_python_s(tmp_path):
    texts, _ = renamed(
        tmp_path,
        thing="""
_x = 1
def _outer(_a, _b):
    _x = 5
    def inner(_b, _c=_a):
        nonlocal _x
        _x += _b + _c
        return [_a + _x for _x in range(_b)], {_k: _v for _k, _v in zip("ab", (_a, _b))}
    first = inner(2)
    return first, _x, (lambda _a: _a + _b)(10)
def bump():
    global _x
    _x += 1
    try:
        raise ValueError(_x)
    except ValueError as _e:
        return _e.args[0], _outer(1, 2)
class Thing:
    _x = _x
    _y = [_x, _x]
    def get(self):
        return _x, self._x, self._y
out = bump(), Thing().get()
""",
    )
    assert result(texts, "import thing\nout = thing.out") == (
        (2, (([1, 2], {"a": 1, "b": 2}), 8, 12)),
        (2, 1, [1, 1]),
    )


def test_a_class_and_what_it_stands_on_share_no_new_name(tmp_path):
    texts, names = renamed(
        tmp_path,
        low="\n".join(
            ["class Base:"] + ["    _a{0} = {0}".format(i) for i in range(20)] + ["_B = Base"]
        ),
        high="import low\n_Base = low.Base\nclass Thing(_Base):\n"
        + "\n".join("    _b{0} = {0}".format(i) for i in range(20))
        + "\n    def all(self):\n        return ["
        + ", ".join("self._a{0}, self._b{0}".format(i) for i in range(20))
        + "]\n",
    )
    assert len(set(names.attributes.values())) == 40
    expected = [number for i in range(20) for number in (i, i)]
    assert result(texts, "import high\nout = high.Thing().all()") == expected


def test_names_of_umqtt_simple_stay(tmp_path):
    texts, names = renamed(
        tmp_path,
        foreign=["_send_str", "ValueError"],
        thing="class Link:\n    def _send_str(self):\n        pass\n    def _own(self): pass\n",
    )
    assert names.attributes.keys() == {"_own"}
    assert "ValueError" not in names.attributes.values()
    assert {"_send_str", "_recv_len", "keepalive"} <= outputs.foreign_names()


def test_what_may_be_an_attribute_or_a_module_s_name_stays(tmp_path):
    texts, names = renamed(
        tmp_path,
        low="def _read():\n    return 1\n",
        high="def _module():\n    import low\n    return low\n"
        "def go():\n    return _module()._read()\n",
    )
    assert ("low", "_read") not in names.globals
    assert result(texts, "import low, high\nout = high.go()") == 1


def test_import_of_everything_brings_no_builtin(tmp_path, built):
    """`from iotc import *` in a program must not change what len or print is."""
    import builtins

    output, _ = built
    for service in SERVICES:
        source = output / "sources" / service.imports[0]
        for path in source.rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                bound = set(private.stored_names(node)) | {getattr(node, "name", "_")}
                for name in bound:
                    # ConnectionError is teamviewer_iot's own public name.
                    if not name.startswith("_") and name != "ConnectionError":
                        assert not hasattr(builtins, name), name


def test_parts_with_constants_of_one_name(tmp_path):
    texts, _ = renamed(
        tmp_path,
        join=["low", "high"],
        low="from micropython import const\n_N = const(1)\ndef low():\n    return _N\n",
        high="from micropython import const\nimport low as below\n_N = const(2)\n"
        "def high():\n    return _N, below.low()\n",
    )
    assert result(texts, "import high, low\nout = high.high(), low is high") == ((2, 1), True)


def test_an_inner_module_s_names_are_the_build_s(tmp_path):
    texts, _ = renamed(
        tmp_path,
        join=["wire", "main"],
        inner=["wire"],
        wire="def quote(text):\n    return '<' + text + '>'\n",
        main="from wire import quote\ndef say():\n    return quote('a')\n",
        seldom="from wire import quote\ndef shout():\n    return quote('A')\n",
    )
    assert "quote" not in texts["main"] and "wire" not in texts["seldom"]
    assert result(texts, "import main, seldom\nout = main.say() + seldom.shout()") == "<a><A>"


def test_a_private_name_of_one_text_is_a_constant_and_one_that_changes_is_none(tmp_path):
    texts, _ = renamed(
        tmp_path,
        main="_TEXT = 'a'\n_PAIR = (1, -2)\n_count = 0\n_both = 'x'\n"
        "def step():\n    global _count\n    _count += 1\n    return _TEXT, _PAIR, _count\n"
        "def other(_both):\n    return _both\n",
    )
    assert "_TEXT = const('a')" in texts["main"] and "_PAIR = const((1, -2))" in texts["main"]
    assert texts["main"].count("const(") == 2
    assert result(texts, "import main\nout = main.step(), main.other(5)") == (("a", (1, -2), 1), 5)


def test_two_classes_of_which_one_is_nobody_s_are_one(tmp_path):
    files = dict(
        base="class Base:\n    word = 'a'\n"
        "    def say(self):\n        return self.word + self.end()\n"
        "    def end(self):\n        return '.'\n",
        main="from base import Base\nclass Heir(Base):\n    word = 'b'\n"
        "    def end(self):\n        return '!'\n",
    )
    texts, _ = renamed(tmp_path, join=["base", "main"], inner=["base"], **files)
    assert texts["main"].count("class ") == 1
    assert result(texts, "import main\nout = main.Heir().say()") == "b!"
    # A program may want the other one, or a class asks for it by super(): both stay.
    texts, _ = renamed(tmp_path, join=["base", "main"], **files)
    assert texts["main"].count("class ") == 2
    files["main"] += "    def say(self):\n        return super().say() + '?'\n"
    texts, _ = renamed(tmp_path, join=["base", "main"], inner=["base"], **files)
    assert texts["main"].count("class ") == 2
    assert result(texts, "import main\nout = main.Heir().say()") == "b!?"


def test_of_a_name_in_two_modules_the_one_keeps_it_that_makes_names_when_asked(tmp_path):
    texts, _ = renamed(
        tmp_path,
        join=["client", "speak", "main"],
        client="class Device:\n    kind = 1\n"
        "def __getattr__(name):\n    if name == 'Late':\n        return 5\n"
        "    raise AttributeError(name)\n",
        speak="class Device:\n    kind = 2\n",
        main="import client, speak\n"
        "def kinds():\n    return client.Device.kind, speak.Device.kind\n",
    )
    found = result(
        texts,
        "import main, client, speak\n"
        "out = main.kinds(), client.Device.kind, client.Late, speak.Device.kind",
    )
    assert found == ((1, 2), 1, 5, 2)


def test_an_inner_module_that_is_loaded_by_its_name_keeps_its_names(tmp_path):
    files = dict(
        numbers="class Level:\n    HIGH = 3\n",
        main="import sys\ndef level(name):\n"
        "    return getattr(getattr(__import__('numbers'), 'Level'), name)\n",
    )
    for text in ("'Level'", "name"):  # the second time no string tells which name is meant
        given = dict(files, main=files["main"].replace("'Level'", text))
        texts, _ = renamed(tmp_path, inner=["numbers"], **given)
        assert "class Level" in texts["numbers"]


def test_lib_means_the_same_without_what_a_board_has_no_use_for():
    """Writing a tree out as text changes nothing: the compiler makes the same of both."""
    for module, path in packages.modules().items():
        text = path.read_text(encoding="utf-8")
        again = joined.written(ast.parse(text))
        assert outputs.compile_mpy(text, module) == outputs.compile_mpy(again, module), module


def test_lib_needs_no_assert():
    """The build leaves asserts out."""
    for path in packages.modules().values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], path


# --- umqtt.simple in two files ---


def test_umqtt_simple_s_own_client_works_from_the_built_files(built, broker, tmp_path):
    output, _ = built
    out = run(
        """
import sys
from mqtt_link import MQTTException, MQTTLink
import umqtt.simple
print("umqtt.simple_whole" in sys.modules, umqtt.simple.MQTTException is MQTTException)
from umqtt.simple import MQTTClient
print(issubclass(MQTTLink, MQTTClient))

class Named(MQTTClient):
    def publish(self, topic, msg):
        super().publish(topic, msg, qos=1)

got = []
client = Named("plain", HOST, PORT, keepalive=30)
client.set_callback(lambda topic, msg: got.append((topic, msg)))
client.connect(clean_session=True)
client.subscribe(b"plain/#", qos=1)
client.publish(b"plain/a", b"1")
while not got:
    client.wait_msg()
client.disconnect()
print(got, "umqtt.simple_whole" in sys.modules)
""".replace("HOST", repr(broker.host)).replace("PORT", str(broker.port)),
        [output / "mqtt_link"],
        tmp_path,
    )
    assert out.splitlines() == ["False True", "True", "[(b'plain/a', b'1')] True"]


def test_the_link_stands_on_the_umqtt_simple_of_the_firmware(built, tmp_path):
    """Where that one is found first, its classes are the link's, too."""
    output, _ = built
    out = run(
        "from mqtt_link import MQTTLink\nimport umqtt.simple as simple\n"
        "link = MQTTLink('a', '127.0.0.1', 1)\nlink.set_last_will('t', 'm', qos=1)\n"
        "print(isinstance(link, simple.MQTTClient), hasattr(simple, '_'))\n"
        "print(link.client_id, link.keepalive, link.lw_topic, link.lw_qos)",
        [workshop.DEVICE_LIB, output / "mqtt_link"],
        tmp_path,
    )
    assert out == "True False\nb'a' 60 b't' 1\n"


def test_another_umqtt_simple_is_told_of():
    for text in (
        "class Other: pass",
        "print(1)\nclass MQTTClient:\n    def a(self): pass\n",
        "class MQTTClient:\n    keepalive = 0\n",
    ):
        with pytest.raises(ValueError, match="umqtt.simple"):
            umqtt.split(text)


# --- what is needed seldom ---

PARTS = "print([name for name in sys.modules if name.startswith('picolink')])\n"


def test_what_is_needed_seldom_is_loaded_for_a_call_and_let_go(built, broker, tmp_path):
    """Arguments by keyword, results, super() and exceptions are as in lib/."""
    output, _ = built
    out = run(
        """
import sys
from mqtt_link import MQTTLink

class Mine(MQTTLink):
    def __init__(self, *args, **keys):
        super().__init__(*args, **keys)
        self.told = []
        self.on_ack = lambda pid, code: self.told.append(code)
    def connect(self, **keys):
        return "mine", super().connect(**keys)

link = Mine("seldom", HOST, port=PORT, keepalive=30)
print(link.connect(timeout=20, clean_session=True), link.is_connected())
link.disconnect(wait_ms=0)
link.publish("a", "b", qos=1)
link.discard()
print(link.told, link.inflight)
for wrong in ({"keepalive": -1}, {"nothing": 1}):
    try:
        Mine("seldom", HOST, **wrong)
    except (ValueError, TypeError) as e:
        print(type(e).__name__)
PARTS
""".replace("HOST", repr(broker.host))
        .replace("PORT", str(broker.port))
        .replace("PARTS", PARTS),
        [output / "mqtt_link"],
        tmp_path,
    )
    assert out.splitlines() == [
        "('mine', False) True",
        "[255] 0",
        "ValueError",
        "TypeError",
        "[]",
    ]


def test_a_function_that_the_table_names_must_be_there():
    _, module, group = apart.files()[0]
    tree = ast.parse("class Other:\n    def open(self):\n        pass\n")
    with pytest.raises(ValueError, match="tools/building/apart.py"):
        apart.Resident(module, {}, ())(tree)
    with pytest.raises(ValueError, match="tools/building/apart.py"):
        apart.Apart(module, group, {}, ())(tree)


@pytest.mark.parametrize(
    "service, choice",
    [
        ("ibm", {}),
        ("ibm", {"mqtt_link": (("MQTTLink.set_last_will",),)}),
        (
            "azure",
            {"iotc": (("Device.__init__", "Device._link"),), "iotc_wire": (("unquote",),)},
        ),
    ],
    ids=["none", "the link without its constructor", "what stands on the link"],
)
def test_any_choice_of_what_is_taken_out_builds_what_works(
    service, choice, broker, tmp_path, monkeypatch
):
    monkeypatch.setattr(apart, "SELDOM", choice)
    (made,) = build.build([service], tmp_path / "out")
    program = """
from mqtt_link import MQTTLink
link = MQTTLink("choice", HOST, port=PORT, keepalive=30)
link.set_last_will("a", "b", qos=1)
link.connect(timeout=20)
link.publish("a", "b", qos=1)
link.disconnect(wait_ms=20000)
print(link.inflight, link.keepalive, link.lw_topic)
"""
    if service == "ibm":
        program += """
import ibmiotf.device
options = {"org": "quickstart", "type": "t", "id": "i", "ssl": False, "host": HOST, "port": PORT}
client = ibmiotf.device.Client(options)
client.connect()
print(client.isConnected(), client.clientId)
"""
    else:
        program += """
import iotc
device = iotc.Device("scope", "MDEyMzQ1Njc4OTAxMjM0NQ==", "device", 1)
print(device.setTokenExpiration(60), device.connect(5), "host" in str(device.error))
"""
    program = program.replace("HOST", repr(broker.host)).replace("PORT", str(broker.port))
    out = run(program, [tmp_path / "out" / made.name], tmp_path)
    said = "True d:quickstart:t:i" if service == "ibm" else "0 1 True"
    assert out.splitlines() == ["0 30 b'a'", said]


def test_a_property_can_t_be_taken_out():
    tree = ast.parse("class A:\n    @property\n    def b(self):\n        return 1\n")
    with pytest.raises(ValueError, match="A.b is more than a function"):
        resident = apart.Resident("thing", {}, ())
        resident.numbers["A.b"] = 1
        resident(tree)


def test_a_name_that_changes_is_not_taken_along():
    tree = ast.parse(
        "count = 0\ndef step():\n    global count\n    count += 1\ndef tell():\n    return count\n"
    )
    with pytest.raises(ValueError, match="count"):
        apart.Apart("thing", ("tell",), {}, ())(tree)


def test_only_resident_code_and_its_own_parts_call_what_is_taken_out():
    """A function that another file of lib/ calls by its private name leaves a way to it."""
    paths = packages.modules()
    hidden = apart.inner({module: ast.parse(path.read_text()) for module, path in paths.items()})
    names = set().union(*hidden.values())
    assert {"_room", "_check_named"} <= names
    assert "_register" not in names  # iotc_certificates calls it


# --- the words of errors ---

ERRORS = """
from mqtt_link import MQTTLink
import iotc
link = MQTTLink("a", "127.0.0.1", 1)
def told(call):
    try:
        call()
    except (ValueError, OSError) as e:
        print(type(e).__name__, e.args)
told(lambda: link.publish("a/+", b""))
told(lambda: link.publish("a", 5))
told(lambda: link.publish("a", "b", qos=3))
told(lambda: link.subscribe([]))
told(lambda: link.subscribe("a#"))
told(lambda: link.publish("a", "b"))
told(lambda: link.set_last_will("a", "b" * 70000))
device = iotc.Device("scope", "MDEyMzQ1Njc4OTAxMjM0NQ==", "device", 1)
print(device.sendTelemetry({"a": 1}), device.error)
"""


def test_an_error_has_the_same_words_as_in_lib(built, tmp_path):
    output, _ = built
    lib = [workshop.LIB, workshop.DEVICE_LIB]
    out = run(ERRORS, [output / "iotc"], tmp_path)
    assert out == run(ERRORS, lib, tmp_path)
    assert "text " not in out and "topic: 1 to 65535 bytes" in out


def test_every_text_is_told_by_its_number(built, tmp_path):
    output, _ = built
    table = json.loads((output / "names.json").read_text())["texts"]
    program = (
        "for number in {!r}:\n"
        "    file = __import__('picolink_texts_%d' % (number >> 5))\n"
        "    print(repr(file.get(number & 31, ())))\n"
    )
    for name in ("iotc", "ibmiotf", "teamviewer_iot"):
        there = {int(path.stem[-1]) for path in (output / name).glob("picolink_texts_*.mpy")}
        numbers = [int(number) for number in table if int(number) >> 5 in there]
        out = run(program.format(numbers), [output / name], tmp_path)
        assert [ast.literal_eval(line) for line in out.splitlines()] == [
            table[str(number)] for number in numbers
        ]


def test_no_text_gets_lost():
    for module, path in packages.modules().items():
        gathered = texts.Texts()
        source = Source(module, path, [gathered.change(module)] if gathered.change(module) else [])
        left = {
            node.value
            for node in ast.walk(source.tree)
            if isinstance(getattr(node, "value", 0), str)
        }
        whole = {
            node.value
            for node in ast.walk(source.whole)
            if isinstance(getattr(node, "value", 0), str)
        }
        assert whole <= left | set(gathered.numbered().values())


def test_without_its_file_an_error_tells_a_number(built, tmp_path):
    output, _ = built
    lib = tmp_path / "lib"
    shutil.copytree(output / "mqtt_link", lib)
    for path in lib.glob("picolink_texts_*"):
        path.unlink()
    out = run(
        "from mqtt_link import MQTTLink\nlink = MQTTLink('a', '127.0.0.1', 1)\n"
        "try:\n    link.publish('a/+', b'')\nexcept ValueError as e:\n    print('ValueError:', e)",
        [lib],
        tmp_path,
    )
    assert re.match("ValueError: text [0-9]+$", out)
    told = explain.explain(out, output / "names.json")
    assert told == "ValueError: topic: 1 to 65535 bytes without NUL, + or #\n"


def test_what_decides_and_what_memory_lacks_for_stays_in_place():
    tree = ast.parse(
        "from netstream import reason\n"
        "def f(e):\n"
        "    raise OSError(1, 'connection closed by the peer')\n"
        "    raise OSError(1, reason('a word and another', 'b'))\n"
        "    raise OSError(ENOTCONN, 'not connected, nothing was sent')\n"
        "    raise ValueError('too short: no')\n"
    )
    gathered = texts.Texts()
    gathered.change("iotc")(tree)
    assert list(gathered.numbered().values()) == ["too short: no"]


# --- a traceback ---


def test_a_traceback_is_told_in_the_words_of_lib(built, tmp_path):
    output, _ = built
    out = run(
        "import sys\nfrom mqtt_link import MQTTLink\n"
        "link = MQTTLink('a', '127.0.0.1', 1, timeout=1)\n"
        "try:\n    link.connect()\nexcept OSError as e:\n    sys.print_exception(e)\n",
        [output / "mqtt_link"],
        tmp_path,
    )
    told = explain.explain(out, output / "names.json")
    frames = re.findall(r'File "lib/(\w+)\.py", lines (\d+) to (\d+), in (\S+)', told)
    assert ("mqtt_link", "MQTTLink._pass") in [(one[0], one[3]) for one in frames]
    assert frames[-1][0] == "netstream"
    for module, first, last, function in frames:
        lines = (workshop.LIB / (module + ".py")).read_text().split("\n")
        name = function.rpartition(".")[2]
        assert "def " + name in lines[int(first) - 1], function
        assert int(first) < int(last)
    assert 'File "' + str(tmp_path) in told and "OSError" in told


def test_a_name_in_an_error_s_text_is_told(built):
    output, _ = built
    table = json.loads((output / "names.json").read_text())
    new, old = sorted(table["names"].items())[0]
    told = explain.explain(
        "AttributeError: 'MQTTLink' object has no attribute '{}'\n".format(new),
        output / "names.json",
    )
    assert old[0] in told


# --- the command line ---


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["nobody"], "azure"),
        (["--for", "TOASTER"], "RPI_PICO_W"),
        (["--mpy", "5"], "6.3"),
        (["--explain", "/nowhere/trace.txt"], "/nowhere/trace.txt"),
    ],
)
def test_what_can_t_be_built_is_told(arguments, word, tmp_path, capsys):
    assert build.main(arguments + ["--output", str(tmp_path / "out")]) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_it_says_what_it_made(tmp_path, capsys):
    assert build.main(["azure", "--for", "RPI_PICO_W", "--output", str(tmp_path / "build")]) == 0
    out = capsys.readouterr().out
    size = (tmp_path / "build" / "iotc" / "iotc.mpy").stat().st_size
    assert "build/iotc/iotc.mpy" in out and "{:,} bytes".format(size) in out
    image = (tmp_path / "build" / "iotc.romfs").stat().st_size
    assert re.search("build/iotc.romfs +{:,} bytes".format(image), out)
