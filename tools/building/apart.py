"""
What a file of lib/ needs seldom, in files of its own: a board loads one when something in it is
called, and lets go of it after that.

In lib/ a class stands whole, for its readers. The build takes the functions that SELDOM names out
of the file that stays loaded and leaves at the place of each

    connect = later(17)

which makes a function that loads the file the code has gone to (see LATER), calls it there with
what it is given, and forgets it. Exceptions, results, arguments by keyword and super() in a
program's own class are as they were.
"""

import ast
import collections
import copy

from .source import is_folded, is_private, stored_names

# Module -> its functions that run once, or seldom, each tuple of them in one file: 16 at most. The
# rules: nothing that a reconnect needs; nothing that is to work when there is no memory, such as
# disconnect() and what returns an error code then; nothing that gives away a function that is kept
# (it would keep the file).
# A private function that only others of its tuple call leaves nothing at its place.
#
# What is chosen lowers the heap after import; but a file that is loaded while something is made
# that stays leaves a hole below it, and files loaded inside each other leave large ones. So what
# decides is the least heap that connects (tools/board/least_heap.py --built, ROMFS / .mpy in KB).
# With the constructors of NetStream, MQTTLink, IBM's and TeamViewer's clients and IBM's connect()
# among it, that was 55 / 73 for the link, 67 / 95 for IBM's device, 64 / 86 for Digi's client and
# 80 / 134 for TeamViewer's; without them it is 54 / 71, 62 / 89, 61 / 82 and 81 / 128, for 500 to
# 2,000 bytes after import. iotc's functions stay among it: 65 in ROMFS, without them 67.
SELDOM = {
    "mqtt_link": (("MQTTLink.connect", "MQTTLink.set_last_will"),),
    "iotc": (
        (
            "from_connection_string",
            "Device.__init__",
            "Device.setLogLevel",
            "Device.setExitOnError",
            "Device.setModelData",
            "Device.setInterfaces",
            "Device.setTokenExpiration",
            "Device.setServiceHost",
            "Device.setQosLevel",
            "Device.on",
        ),
        ("Device._register",),
        ("Device._lead_to_hub",),
        ("Device._link", "Device._room"),
    ),
    "teamviewer_iot": (
        (
            "TVCMI_client.list_sensors",
            "TVCMI_client.create_sensor",
            "TVCMI_client.update_sensor_description",
            "TVCMI_client.delete_sensor",
            "TVCMI_client.create_metric",
            "TVCMI_client.describe_metric",
            "TVCMI_client.update_metrics",
            "TVCMI_client.delete_metric",
            "TVCMI_client.listen_live_data",
            "TVCMI_client.client_error",
            "TVCMI_client.sensor_error",
            "TVCMI_client.metric_error",
            "TVCMI_client.deprovision",
            "_check_named",
        ),
    ),
}
# The module that all others with a row stand on.
LOADER = "netstream"
FILE = "picolink_calls_{}"
_PLACES = 16  # for functions in a file
_NAME = "_later"
LATER = """
def _later(number):
    return lambda *args, **keys: load_once("{}" % (number >> 4)).values[number & 15](*args, **keys)
""".format(FILE.format("%d"))


def files():
    """[(name of a file that the build makes, module of lib/, its functions)], in their order."""
    rows = [(module, group) for module in sorted(SELDOM) for group in SELDOM[module]]
    return [(FILE.format(i), module, group) for i, (module, group) in enumerate(rows)]


def inner(trees):
    """
    {name of such a file: names of its functions that nothing else of lib/ mentions}. trees:
    {module: ast.Module} of lib/.
    """
    everywhere = collections.Counter(word for tree in trees.values() for word in mentions(tree))
    found = {}
    for name, module, group in files():
        there = [node for path, _, node in functions(trees[module]) if path in group]
        here = collections.Counter(word for node in there for word in mentions(node))
        names = {node.name for node in there if is_private(node.name)}
        found[name] = {one for one in names if here[one] == everywhere[one] > 1}
    return found


def mentions(tree):
    """Each place of a tree where a name, an attribute, a function or a string is called so."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "asname", "value", "arg"):
            word = getattr(node, field, None)
            if isinstance(word, str):
                yield word


class Resident:
    """
    Changes a module's tree into what stays loaded of it. bases: as Apart takes it. hidden: names
    of its functions that only those taken out with them call.
    """

    def __init__(self, module, bases, hidden):
        self.module = module
        self.bases = bases
        self.hidden = hidden
        self.numbers = {}
        for i, (_, owner, group) in enumerate(files()):
            if owner == module:
                seen = [one for one in group if one.rpartition(".")[2] not in hidden]
                self.numbers.update((one, None) for one in group)
                self.numbers.update(
                    (function, i * _PLACES + place) for place, function in enumerate(seen)
                )
        self.loads = module == LOADER and SELDOM

    def __call__(self, tree):
        found = set()
        for path, body, node in functions(tree):
            if path in self.numbers:
                found.add(path)
                if node.decorator_list:
                    raise ValueError("{}: {} is more than a function".format(self.module, path))
                if node.name in self.hidden:
                    body.remove(node)
                    continue
                call = ast.Call(
                    ast.Name(_NAME, ast.Load()), [ast.Constant(self.numbers[path])], []
                )
                body[body.index(node)] = ast.copy_location(
                    ast.Assign([ast.Name(node.name, ast.Store())], call), node
                )
        _check(set(self.numbers) - found)
        for node in list(tree.body):
            if isinstance(node, ast.ClassDef) and node.bases:
                parent = _Super(node.bases[0], self.bases)
                node.body = [parent.visit(child) for child in node.body]
                at = tree.body.index(node)
                tree.body[at:at] = parent.brought
        if self.loads:
            place = [getattr(node, "name", None) for node in tree.body].index("load_once")
            tree.body[place + 1 : place + 1] = ast.parse(LATER).body
        elif self.numbers:
            names = [getattr(node, "module", None) for node in tree.body]
            taken = ast.ImportFrom(LOADER, [ast.alias(_NAME)], 0)
            tree.body.insert(names.index(LOADER) + 1 if LOADER in names else 0, taken)
        ast.fix_missing_locations(tree)


class Apart:
    """Changes a module's tree into the file with one group of the functions taken out of it."""

    # bases: {class of another project: {name: ast.FunctionDef}}: what super() leads to there is
    # brought along. hidden: names of functions in it that only the others call.
    def __init__(self, module, group, bases, hidden):
        self.module = module
        self.hidden = hidden
        self.group = group
        self.bases = bases

    def __call__(self, tree):
        # Called as in lib/, which is what a traceback shows; `values` costs a board no name.
        found = {path: node for path, _, node in functions(tree) if path in self.group}
        _check(set(self.group) - set(found))
        parents = {
            node.name: node.bases[0]
            for node in tree.body
            if isinstance(node, ast.ClassDef) and node.bases
        }
        taken, brought, brought_names = [], [], set()
        for path in self.group:
            node = copy.deepcopy(found[path])
            parent = _Super(parents.get(path.partition(".")[0]), self.bases, True)
            parent.visit(node)
            _Inner(self.hidden).visit(node)
            taken.append(node)
            brought += [one for one in parent.brought if one.name not in brought_names]
            brought_names.update(one.name for one in parent.brought)
        names = [node.name for node in taken]
        if len(set(names)) < len(names):
            raise ValueError("{}: two functions of one name in one file".format(self.module))
        used = {
            one.id
            for node in brought + taken
            for one in ast.walk(node)
            if isinstance(one, ast.Name)
        }
        head = self._head(tree, used)
        own = [path.rpartition(".")[2] for path in self.group]
        listed = ast.Tuple(
            [ast.Name(name, ast.Load()) for name in own if name not in self.hidden], ast.Load()
        )
        tree.body = (
            head + brought + taken + [ast.Assign([ast.Name("values", ast.Store())], listed)]
        )
        ast.fix_missing_locations(tree)

    def _head(self, tree, used):
        # What the functions need of the module's names: imports and constants are made again,
        # all else is taken from the module, which is there.
        kept, own = [], set()
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                node = copy.copy(node)
                node.names = [
                    alias
                    for alias in node.names
                    if (alias.asname or alias.name.partition(".")[0]) in used
                ]
                if node.names:
                    kept.append(node)
            elif is_folded(node):
                kept.append(node)
            elif not (isinstance(node, ast.FunctionDef) and node.name in self.group):
                own |= _bound(node) & used
        if own:
            names = [ast.alias(name) for name in sorted(own)]
            kept.append(ast.ImportFrom(self.module, names, 0))
        changed = {
            name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names
        }
        if own & changed:
            raise ValueError("{}: {} changes".format(self.module, sorted(own & changed)))
        return kept


class _Super(ast.NodeTransformer):
    # super().name(...) outside its class (moves), or in one whose base has no methods on a board.
    def __init__(self, base, bases, moves=False):
        self.base = base
        self.bases = bases
        self.moves = moves
        self.brought = []  # the functions that are called instead

    def visit_Call(self, node):
        self.generic_visit(node)
        function = node.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Call):
            if getattr(function.value.func, "id", None) == "super":
                methods = self.bases.get(getattr(self.base, "id", None))
                if methods:
                    called = copy.deepcopy(methods[function.attr])
                    called.name = "_{}_{}".format(self.base.id, function.attr)
                    if called.name not in [one.name for one in self.brought]:
                        self.brought.append(called)
                    node.func = ast.Name(called.name, ast.Load())
                elif self.moves:
                    function.value = copy.deepcopy(self.base)
                else:
                    return node
                node.args.insert(0, ast.Name("self", ast.Load()))
        return node


class _Inner(ast.NodeTransformer):
    # self.name(...) of a method that has become a function of the file.
    def __init__(self, hidden):
        self.hidden = hidden

    def visit_Call(self, node):
        self.generic_visit(node)
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in self.hidden:
            node.func = ast.Name(function.attr, ast.Load())
            node.args.insert(0, function.value)
        return node


def functions(tree):
    """(path such as "Class.method", the list it stands in, node) of a module's functions."""
    for node in list(tree.body):
        if isinstance(node, ast.FunctionDef):
            yield node.name, tree.body, node
        elif isinstance(node, ast.ClassDef):
            for child in list(node.body):
                if isinstance(child, ast.FunctionDef):
                    yield node.name + "." + child.name, node.body, child


def _bound(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    found = set(stored_names(node))
    for one in ast.walk(node):
        if isinstance(one, ast.alias):
            found.add(one.asname or one.name.partition(".")[0])
    return found


def _check(lacking):
    if lacking:
        raise ValueError("tools/building/apart.py names no functions of lib/: {}".format(lacking))
