"""One file of lib/ as a syntax tree, without what a board has no use for, and what it binds."""

import ast
import copy
import pickle


class Source:
    """
    A module of lib/.

    module: its dotted name. path: its Path. tree: its ast.Module without docstrings, annotations
    and the import of const(); a private name that stands for the same text or number all the time
    is one of const(). package: the package that its relative imports start from.
    top: {name: what binds it at the top}: ("module", dotted name) for an imported module,
    ("name", module, name) for a name out of another module, ("const",) for a private constant that
    the compiler puts where it is used, else ("own",).
    changes: functions that make of the whole tree (in place) what the build wants of it.
    whole: the tree before that. of: the module of lib/ that this is, or is a part of.
    """

    def __init__(self, module, path, changes=(), of=None):
        self.module = module
        self.path = path
        self.of = of or module
        self._kept = None
        self.package = self.of if path.name == "__init__.py" else self.of.rpartition(".")[0]
        self.tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        self.strings = _words_in_strings(self.tree)
        for node in ast.walk(self.tree):
            _strip(node)
        _fold(self.tree)
        self.whole = self.tree
        if changes:
            self.whole = copy.deepcopy(self.tree)
        for change in changes:
            change(self.tree)
        self.top = {}
        for node in _top_level(self.tree.body):
            self.top.update(self.bound_by(node))

    def again(self):
        """The same with a tree of its own, which may be changed."""
        if not self._kept:
            self._kept = pickle.dumps(self.tree)  # takes a third of the time of copy.deepcopy()
        other = copy.copy(self)
        other.tree = pickle.loads(self._kept)
        return other

    def bound_by(self, node):
        """What one statement binds, as in `top`."""
        found = {}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                found.update(self.bound_by_alias(node, alias))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = ("own",)
        else:
            kind = ("const",) if is_folded(node) else ("own",)
            for name in stored_names(node):
                found[name] = kind
        return found

    def bound_by_alias(self, node, alias):
        """What one name of an import statement binds."""
        if isinstance(node, ast.Import):
            if alias.asname:
                return {alias.asname: ("module", alias.name)}
            top = alias.name.partition(".")[0]
            return {top: ("module", top)}
        return {alias.asname or alias.name: ("name", self.origin(node), alias.name)}

    def origin(self, node):
        """The dotted name of the module that an ImportFrom takes names out of."""
        if not node.level:
            return node.module
        above = self.package.split(".")
        above = above[: len(above) - node.level + 1]
        return ".".join(above + ([node.module] if node.module else []))


def is_private(name):
    """Whether a name is this house's own affair: one underscore in front."""
    return name.startswith("_") and not name.startswith("__") and name != "_"


def is_folded(node):
    """Whether a statement is `_NAME = const(...)`: the compiler leaves nothing of it."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "const"
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
        and is_private(node.targets[0].id)
    )


def stored_names(node):
    """Names that a statement assigns to, without those inside functions and classes in it."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
        yield node.id
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            yield from stored_names(child)


def _fold(tree):
    # `_NAME = "text"` becomes `_NAME = const("text")`: no place in the module's dictionary. (House
    # rule: nobody imports another module's private names.)
    bound = [name for node in tree.body for name in _everything_bound(node)]
    for node in tree.body:
        if isinstance(node, ast.Assign) and _is_literal(node.value) and len(node.targets) == 1:
            (target,) = node.targets
            if isinstance(target, ast.Name) and is_private(target.id):
                if bound.count(target.id) == 1:
                    made = ast.Call(ast.Name("const", ast.Load()), [node.value], [])
                    node.value = ast.copy_location(made, node.value)
    ast.fix_missing_locations(tree)


def _is_literal(node):
    if isinstance(node, ast.Tuple):
        return all(_is_literal(one) for one in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes, int, float))


def _everything_bound(node):
    # Each name that a statement binds, at any depth of it: a const() must be bound once.
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
            yield one.id
        elif isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield one.name
        elif isinstance(one, ast.arg):
            yield one.arg
        elif isinstance(one, (ast.Global, ast.Nonlocal)):
            yield from one.names
        elif isinstance(one, ast.ExceptHandler) and one.name:
            yield one.name
        elif isinstance(one, ast.alias):
            yield one.asname or one.name.partition(".")[0]


def _top_level(body):
    # Every statement that runs in the module's own scope, also inside try, if, for and with.
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody", "handlers"):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield from _top_level(getattr(node, field, []))


def _words_in_strings(tree):
    # Words in text and bytes that the program sees: a name there may be meant for getattr().
    docs = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for child in body if isinstance(body, list) else []:
            if isinstance(child, ast.Expr):
                docs.add(id(child.value))
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docs:
            if isinstance(node.value, (str, bytes)):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                word = ""
                for c in text + " ":
                    if c.isalnum() or c == "_":
                        word += c
                    elif word:
                        words.add(word)
                        word = ""
    return words


def _strip(node):
    # Takes docstrings, annotations and the import of const() out of one node of a tree.
    for field in ("body", "orelse", "finalbody"):
        statements = getattr(node, field, None)
        if isinstance(statements, list):
            kept = [child for child in map(_bare, statements) if child]
            if field == "body" and statements and not kept and not isinstance(node, ast.Module):
                kept = [ast.Pass()]
            setattr(node, field, kept)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None


def _bare(statement):
    # A statement without what a board has no use for; None when nothing is left.
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return None  # a docstring
    if isinstance(statement, ast.ImportFrom) and statement.module == "micropython":
        statement.names = [alias for alias in statement.names if alias.name != "const"]
        return statement if statement.names else None
    if isinstance(statement, ast.AnnAssign):
        if statement.value is None:
            return None
        return ast.copy_location(ast.Assign([statement.target], statement.value), statement)
    return statement
