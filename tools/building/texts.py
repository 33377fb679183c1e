"""
The words of errors, in files that a board loads to tell one, and lets go of.

In lib/ an error's text stands where it is raised. The build leaves there, in files that stay
loaded,

    raise ValueError(told(12))                  raise OSError(5, told(13, host, n))

where told() loads the text. Without the file, or the memory for it, the number of the text is
told: docs/build.md says how to look it up.
"""

import ast

# Modules whose texts are together in one file.
TEXTS = (
    ("netstream", "mqtt_link"),
    ("json_text", "iotc", "iotc_wire"),
    ("ibmiotf", "ibmiotf.device", "ibmiotf.application"),
    ("teamviewer_iot",),
)
LOADER = "netstream"
FILE = "picolink_texts_{}"
_PLACES = 32  # for texts in a file
_SHORTEST = 12  # a shorter one costs more to load than it takes
_NAME = "_told"
# A text with one of these stays. What failed is told apart by the first ones, and must be when
# there is no memory; the last ones are told on the way to each new connection.
STAYING = ("clock", "handshake", "closed", "can't connect", "refused", "memory", "silent", "lost")
# Errors that a program may meet in each step of its loop, or in an interrupt.
_USUAL = ("ENOBUFS", "ENOTCONN", "EALREADY")
_TELLING = ("_fail",)  # functions that take a text
_SHORT = "reason"  # netstream's
TOLD = """
def _told(number, *args):
    try:
        return load_once("{}" % (number >> 5)).get(number & 31, args)
    except _NO_REASON:
        return "text %d" % number
""".format(FILE.format("%d"))
_FILE = """
def get(index, args):
    text = {!r}.split("\\0", index + 1)[index]
    return text % args if args else text
"""


class Texts:
    """The texts of all files, gathered by the changes to the modules' trees."""

    def __init__(self):
        self.groups = [[] for _ in TEXTS]

    def change(self, module):
        """A function that takes the texts out of a module's tree; None for one with no row."""
        for number, group in enumerate(TEXTS):
            if module in group:
                return _Change(module, self.groups[number], number)
        return None

    def files(self):
        """[(name of a file that the build makes, the modules whose texts it holds, a change)]."""
        return [
            (FILE.format(number), TEXTS[number], _File(texts))
            for number, texts in enumerate(self.groups)
            if texts
        ]

    def numbered(self):
        """{number that told() is called with: text}."""
        return {
            file * _PLACES + index: text
            for file, texts in enumerate(self.groups)
            for index, text in enumerate(texts)
        }


class _File:
    # Changes any tree into that of a file with texts.
    def __init__(self, texts):
        self.texts = texts

    def __call__(self, tree):
        tree.body = ast.parse(_FILE.format("\0".join(self.texts))).body


class _Change(ast.NodeTransformer):
    def __init__(self, module, texts, file):
        self.module = module
        self.texts = texts
        self.file = file
        self.found = False
        self.inside = 0  # functions
        self.telling = False

    def __call__(self, tree):
        self.found = False
        self.visit(tree)
        if self.module == LOADER:
            names = [_first_name(node) for node in tree.body]
            at = max(names.index("_NO_REASON"), names.index("load_once")) + 1
            tree.body[at:at] = ast.parse(TOLD).body
        elif self.found:
            tree.body.insert(0, ast.ImportFrom(LOADER, [ast.alias(_NAME)], 0))
        ast.fix_missing_locations(tree)

    def visit_FunctionDef(self, node):
        self.inside += 1
        self.generic_visit(node)
        self.inside -= 1
        return node

    def visit_Raise(self, node):
        if isinstance(node.exc, ast.Call) and self._may_wait(node.exc):
            if self.inside or self.module != LOADER:
                self._look_through(node.exc)
        return node

    def visit_Call(self, node):
        if getattr(node.func, "id", None) == _SHORT:
            return node  # with a text for want of memory
        called = getattr(node.func, "attr", getattr(node.func, "id", None))
        if self.inside and called in _TELLING and self._may_wait(node):
            self._look_through(node)
            return node
        return self.generic_visit(node)

    def _may_wait(self, call):
        first = call.args[0] if call.args else None
        return getattr(first, "id", None) not in _USUAL

    def _look_through(self, call):
        before, self.telling = self.telling, True
        call.args = [self.visit(one) for one in call.args]
        self.telling = before

    def visit_BinOp(self, node):
        if self._is_text(node.left) and isinstance(node.op, ast.Mod):
            given = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            return self._load(node, node.left, [self.visit(one) for one in given])
        return self.generic_visit(node)

    def visit_Constant(self, node):
        return self._load(node, node, []) if self._is_text(node) else node

    def _is_text(self, node):
        return (
            self.telling
            and isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and len(node.value) >= _SHORTEST
            and " " in node.value
            and not any(word in node.value for word in STAYING)
        )

    def _load(self, node, text, given):
        self.found = True
        if text.value not in self.texts:
            if len(self.texts) == _PLACES:
                raise ValueError("more than {} texts with {}".format(_PLACES, self.module))
            self.texts.append(text.value)
        number = self.file * _PLACES + self.texts.index(text.value)
        call = ast.Call(ast.Name(_NAME, ast.Load()), [ast.Constant(number)] + given, [])
        return ast.copy_location(call, node)


def _first_name(node):
    if isinstance(node, ast.Assign):
        return getattr(node.targets[0], "id", None)
    return getattr(node, "name", None)
