"""
The rules of the house, kept by machine: who may import whom, what may stand in a file, what must
not be forgotten.
"""

import ast
import json
import re
import subprocess
import sys

import pytest
import services
import workshop
from workshop import heap32, packages

LIB_MODULES = packages.modules()
HOST = [
    path for top in ("tools", "host_tests") for path in sorted((workshop.ROOT / top).rglob("*.py"))
]

# MicroPython's own modules that are the same on every port with a network.
OF_MICROPYTHON = set(
    """asyncio binascii collections deflate errno gc hashlib io json machine math micropython os
    random re select socket ssl struct sys time tls umqtt.simple""".split()
)


def tracked():
    """
    The project's files: git's list with those that are to be added, or in a copy without git what
    lies there.
    """
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=workshop.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode == 0:
        paths = [workshop.ROOT / name for name in done.stdout.split("\0") if name]
    else:
        paths = [
            path
            for path in workshop.ROOT.rglob("*")
            if not any(part.startswith(".venv") for part in path.parts)
        ]
    return [path for path in paths if path.is_file()]


def guarded_imports(path):
    """Names that a file imports inside `try: ... except ImportError`: what it can do without."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Try) and any(
            "ImportError" in ast.dump(handler.type) for handler in node.handlers if handler.type
        ):
            for child in ast.walk(ast.Module(body=node.body, type_ignores=[])):
                if isinstance(child, ast.Import):
                    names.update(alias.name for alias in child.names)
                elif isinstance(child, ast.ImportFrom):
                    names.add(child.module)
    return names


def name(path):
    return path.relative_to(workshop.ROOT).as_posix()


def imported_modules(module, path):
    """What a file of lib/ imports, without the names that are taken out of a module."""
    found = set(packages.imports(module, path))
    return {
        one
        for one in found
        if one in LIB_MODULES or one in OF_MICROPYTHON or one.rpartition(".")[0] not in found
    }


@pytest.mark.parametrize("module", sorted(LIB_MODULES))
def test_lib_imports_only_what_a_board_has(module):
    path = LIB_MODULES[module]
    foreign = imported_modules(module, path) - OF_MICROPYTHON - set(LIB_MODULES)
    assert foreign <= guarded_imports(path), "{} is not on every board".format(foreign)


@pytest.mark.parametrize("module", sorted(LIB_MODULES))
def test_lib_imports_downwards(module):
    """No service knows another; what they share knows only what lies below it."""
    used = imported_modules(module, LIB_MODULES[module]) & set(LIB_MODULES)
    assert used <= services.may_import(module), "tools/services.py says what it may import"


# What firmware holds ready to use: importing it takes no memory that could be missing half-way.
OF_FIRMWARE = {"_thread", "binascii", "deflate", "network", "tls"}


@pytest.mark.parametrize("module", sorted(LIB_MODULES))
def test_pain_33_imports_inside_functions_leave_nothing_broken_behind(module):
    """They go through netstream's load_module() or load_once()."""
    tree = ast.parse(LIB_MODULES[module].read_text())
    inside = {
        alias.name if isinstance(node, ast.Import) else node.module
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert inside <= OF_FIRMWARE, "load_module() instead: without memory these can't be repeated"
    calls = [node for node in ast.walk(tree) if getattr(node, "id", None) == "__import__"]
    assert len(calls) == (module == "netstream"), "load_module() instead of __import__()"


# --- the table of services ---


@pytest.mark.parametrize("module", sorted(LIB_MODULES))
def test_every_file_of_lib_is_in_the_table_of_services(module):
    services.may_import(module)  # ValueError says what to do


def test_the_table_of_services_names_what_is_there_once():
    named = [one.module for one in services.SHARED]
    for service in services.SERVICES:
        named += service.own
    assert sorted(named) == sorted(set(named)), "named twice"
    assert set(named) == set(LIB_MODULES), "tools/services.py names files that lib/ has not"


def test_a_file_in_no_row_is_told_what_to_do():
    with pytest.raises(ValueError) as told:
        services.may_import("iotc_modules")
    for word in ("lib/iotc_modules.py", "services.py", "SHARED", "seldom", "then run"):
        assert word in str(told.value)


def test_rules_follow_from_the_table():
    assert services.may_import("option_names") == set()
    assert services.may_import("tls_setup") == {"option_names"}
    assert "netstream" in services.may_import("mqtt_link")
    assert "mqtt_link" not in services.may_import("netstream")
    assert "iotc_wire" in services.may_import("iotc")
    assert "ibmiotf" not in services.may_import("iotc")
    assert services.named("azure") is services.named("iotc")
    with pytest.raises(ValueError, match="there are link, "):
        services.named("nobody")


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda one: one.name)
def test_resident_is_what_importing_it_loads(service):
    loaded = packages.resident(service)
    own = {module for module in loaded if module in service.own}
    assert own == set(service.resident), (
        "resident in tools/services.py must be what is imported outside functions"
    )
    seldom = {one.module for one in services.SHARED if one.seldom}
    seldom -= set(service.imports + service.stays)
    assert not seldom & set(loaded), "imported outside functions, so not seldom"


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda one: one.name)
def test_a_row_names_what_is_there(service):
    for module in service.imports + service.own + service.stays + service.rows:
        assert module in LIB_MODULES, module
    assert (workshop.ROOT / service.page).is_file()
    assert (workshop.ROOT / service.package).is_file()
    readme = (workshop.ROOT / "README.md").read_text(encoding="utf-8")
    assert "({})".format(service.page) in readme
    for row in service.rows:
        assert "`{}`".format(row) in readme


def test_local_cloud_shares_no_code_with_the_clients():
    tops = {module.split(".")[0] for module in LIB_MODULES}
    for path in sorted((workshop.ROOT / "tools" / "localcloud").rglob("*.py")):
        used = {one.split(".")[0] for one in packages.imports("localcloud." + path.stem, path)}
        assert not used & tops, "{} imports what it is there to test".format(name(path))


def test_lib_compiles_for_a_board(tmp_path):
    for path in LIB_MODULES.values():
        assert heap32.mpy(path)


def test_host_side_runs_on_python_3_9():
    for path in HOST:
        ast.parse(path.read_text(), str(path), feature_version=(3, 9))


def test_ruff_is_content():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"],
        cwd=workshop.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_every_module_has_its_test():
    tests = {path.name for path in (workshop.ROOT / "host_tests").rglob("test_*.py")}
    missing = []
    for module in LIB_MODULES:
        stem = "test_" + module.replace(".", "_")
        if module == "ibmiotf":
            stem = "test_ibmiotf_init"
        if not any(test == stem + ".py" or test.startswith(stem + "_") for test in tests):
            missing.append(module)
    assert not missing, "each needs a file test_<module>.py, or test_<module>_….py, in some room"


# --- how tests reach what they test ---

TESTS = [path for path in HOST if "host_tests" in path.parts and "device" not in path.parts]
PROGRAM_LINES = 30


def test_tests_reach_into_nothing_private():
    """
    A rename of something private breaks no test. The workshop's own set-up is left out: its steps
    change the computer, so that its tests play each of them.
    """
    found = []
    for path in TESTS:
        if path.name == "test_workshop.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
                owner = ast.unparse(node.value)
                if owner not in ("self", "cls", "super()", "os"):
                    found.append("{}:{} {}.{}".format(name(path), node.lineno, owner, node.attr))
    assert not found, "give it a public name, or look at what it does"


def test_tests_find_their_modules_by_one_path():
    """pyproject.toml says where tests import from, Board.run(before_lib=) where a device does."""
    words = re.compile(r"sys\.path\.(insert|append|extend)" + r"|site\.addsitedir")
    changed = [
        name(path)
        for path in HOST
        if "host_tests" in path.parts and words.search(path.read_text())
    ]
    assert not changed


def test_longer_device_programs_are_files():
    """Of host_tests/device, where ruff reads them; short ones say most beside their asserts."""
    found = []
    for path in TESTS:
        if path.parent.name == "house":  # its texts are programs of other kinds
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if node.value.count("\n") > PROGRAM_LINES:
                    found.append("{}:{}".format(name(path), node.lineno))
    assert not found, "make them files: rigs/device_program.py reads them"


# --- what mip and the firmware's build are told ---


def test_package_files_are_up_to_date():
    assert not packages.outdated(), "run python3 tools/services.py and commit what it writes"


@pytest.mark.parametrize("file", sorted(packages.PACKAGES))
def test_package_files_name_files_that_exist(file):
    path = workshop.ROOT / file
    content = json.loads(path.read_text())
    assert content["version"] == packages.version()
    for target, source in content["urls"]:
        assert not source.startswith(("/", "http", "github:")), "sources are relative: forks, tags"
        assert (path.parent / source).is_file()
        assert (workshop.LIB / target).is_file()
    assert content["deps"] in ([], [["umqtt.simple", "latest"]])


def test_root_package_holds_all_of_lib():
    content = json.loads((workshop.ROOT / "package.json").read_text())
    there = {path.relative_to(workshop.LIB).as_posix() for path in LIB_MODULES.values()}
    assert {target for target, _ in content["urls"]} == there


# --- what may stand in a file ---

# Put together here, so that this file doesn't hold them.
REGISTRIES = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js."]
WORKPLACE = [r"/wo" + r"rk/", r"\biss" + r"ue #?\d", r"PAI" + r"NS\.md"]


def test_no_registry_s_host_name():
    found = []
    for path in tracked():
        text = path.read_bytes().decode(errors="replace")
        found += [(name(path), host) for host in REGISTRIES if host in text]
    assert not found, "the registry is the reader's choice: pip and npm know it"


def test_text_speaks_of_the_project_only():
    found = []
    for path in tracked():
        if path.suffix not in (".py", ".md", ".toml", ".mjs", ".txt", ".in", ".sh"):
            continue
        text = path.read_text(errors="replace")
        for pattern in WORKPLACE:
            found += [(name(path), match.group()) for match in re.finditer(pattern, text)]
    assert not found


def test_requirements_are_pinned():
    for file in ("requirements.txt", "requirements-amqtt.txt", "requirements-types.txt"):
        for line in (workshop.REQUIREMENTS / file).read_text().splitlines():
            assert line.startswith("#") or "==" in line, line
    asked = (workshop.REQUIREMENTS / "requirements.in").read_text()
    pinned = (workshop.REQUIREMENTS / "requirements.txt").read_text()
    for line in asked.splitlines():
        package = re.match(r"[\w-]*", line).group()
        assert not package or re.search("^" + package + "==", pinned, re.M), package


def test_pain_21_importing_a_client_reaches_for_nothing(board):
    """No network, no installer: whatever of either a module touches while it is imported fails."""
    result = board.run(
        """
        import sys

        class Trap:
            SOCK_STREAM = 1
            def __getattr__(self, name):
                raise Exception("an import reached for " + name)

        for name in ("socket", "usocket", "mip", "upip", "requests", "urequests"):
            sys.modules[name] = Trap()
        for name in MODULES:
            __import__(name)
        report(imported=len(MODULES))
        """,
        MODULES=sorted(LIB_MODULES),
    )
    assert result.report == {"imported": len(LIB_MODULES)}
