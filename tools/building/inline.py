"""
What is called from one place stands at that place.

In lib/ a function has one job and a name. Each one takes a board some 60 bytes of heap and 20 of
the file beside its code, and time at each call. So the build puts a private function that lib/
calls once into its caller: its parameters and its names become names of the caller's, which cost
nothing. Results, exceptions and the order of things are as they were; only a traceback names one
function less.

A frame of more than _FRAME words takes heap at each call: no function that has a smaller one gets
a larger one so. A generator's frame lies in the heap anyway.
"""

import ast
import collections
import copy

from . import firmware
from .apart import functions, mentions
from .source import is_folded, is_private

_FRAME = 11  # words; VM_MAX_STATE_ON_STACK of MicroPython
_NAME = "_{}_of_callee"  # what a function gets with another one is called so
_BROAD = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_CLOSES = _BROAD + (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Inline:
    """
    Changes a tree of lib/ (in place).

    trees: {module: ast.Module} of lib/ as it lies. foreign: names that must stay. compiled: a
    function that makes an .mpy of a text.
    """

    def __init__(self, trees, foreign, compiled):
        self.words = collections.Counter(
            word for tree in trees.values() for word in mentions(tree)
        )
        self.families = _Families(trees)
        self.foreign = foreign
        self.compiled = compiled

    def __call__(self, tree):
        before = self._frames(tree)
        stay = set()  # functions that would make their caller's frame too large
        while True:
            made = _Once(copy.deepcopy(tree), self._is_ours, stay)
            after = self._frames(made.tree)
            large = [
                made.put[name] for name in made.put if after.get(name, 0) > _FRAME >= before[name]
            ]
            if not large:
                break
            # The one with the most names of its own has to stay by itself.
            stay.update(max(put)[1] for put in large)
        tree.body = made.tree.body

    def _is_ours(self, owner, name):
        # Once where it is made, once where it is called.
        if not is_private(name) or name in self.foreign:
            return False
        return self.words[name] - self.families.elsewhere(owner, name) == 2

    def _frames(self, tree):
        # {path of a function: words of its frame, 0 for a generator's}
        consts = [node for node in tree.body if is_folded(node)]
        found, made = [], []
        for path, _, node in functions(tree):
            node = copy.deepcopy(node)
            node.decorator_list = []
            node.args.defaults, node.args.kw_defaults = [], [None] * len(node.args.kwonlyargs)
            found.append(path)
            made.append(node)
        if not made:
            return {}
        text = ast.unparse(ast.fix_missing_locations(ast.Module(consts + made, [])))
        return dict(zip(found, firmware.frames_of(self.compiled(text))))


class _Families:
    # Which classes may be related: a method of one may be what another one calls.
    def __init__(self, trees):
        self.parent = {}
        self.own = {}  # (class, method of its own) -> how often it is made and called there
        self.methods = {}  # method -> classes
        for tree in trees.values():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    self._look_at(node)

    def _look_at(self, node):
        for base in node.bases:
            name = getattr(base, "attr", getattr(base, "id", None))
            self.parent[self._root(name)] = self._root(node.name)
        made = [child.name for child in node.body if isinstance(child, ast.FunctionDef)]
        called = [
            one.attr
            for one in ast.walk(node)
            if isinstance(one, ast.Attribute) and _is_name(one.value, "self")
        ]
        for name in set(made):
            self.methods.setdefault(name, []).append(node.name)
            key = node.name, name
            self.own[key] = self.own.get(key, 0) + (made + called).count(name)

    def _root(self, name):
        while self.parent.get(name, name) != name:
            name = self.parent[name]
        return name

    def elsewhere(self, owner, name):
        """How often classes that have nothing to do with `owner` mean a method of their own."""
        strangers = {
            one for one in self.methods.get(name, ()) if self._root(one) != self._root(owner)
        }
        return sum(self.own[one, name] for one in strangers)


class _Once:
    # tree: with each function put where it is called. put: {path of a caller: [(how many names of
    # its own, name)] of those that it got}.
    def __init__(self, tree, is_ours, stay):
        self.tree = tree
        self.put = {}
        self.consts = {node.targets[0].id for node in tree.body if is_folded(node)}
        self._nodes = {}  # (class or "", name) -> (list that it stands in, node)
        for path, body, node in functions(tree):
            owner, _, name = path.rpartition(".")
            if is_ours(owner, name) and name not in stay and _can_move(node):
                self._nodes[owner, name] = body, node
        self._done = set()
        for path, _, node in list(functions(tree)):
            self._expand(path, node)

    def _expand(self, path, node):
        # Puts all that can be into one function.
        if path in self._done:
            return
        self._done.add(path)
        owner = path.rpartition(".")[0]
        caller = _Caller(node, self, owner)
        node.body = caller.block(node.body, True)
        if caller.put:
            self.put[path] = caller.put

    def take(self, owner, call):
        """The function that a call means, ready to be put in its place; None for any other."""
        function = call.func
        if isinstance(function, ast.Attribute) and _is_name(function.value, "self"):
            key = owner, function.attr
        elif isinstance(function, ast.Name):
            key = "", function.id
        else:
            return None
        if key not in self._nodes:
            return None
        body, node = self._nodes[key]
        self._expand(".".join(part for part in key if part), node)
        return node

    def remove(self, owner, node):
        """Takes a function that has been put somewhere from its own place."""
        key = (owner, node.name) if (owner, node.name) in self._nodes else ("", node.name)
        body, node = self._nodes.pop(key)
        body.remove(node)
        if not body:
            body.append(ast.Pass())


class _Caller:
    # One function, into which others are put.
    def __init__(self, node, once, owner):
        self.once = once
        self.owner = owner
        self.locals = _bound(node)
        self.is_generator = _is_generator(node)
        self.put = []

    def block(self, body, is_last):
        """Statements with the calls in them replaced. is_last: nothing is done after them."""
        made = []
        for number, node in enumerate(body):
            last = is_last and number == len(body) - 1
            made += self._statement(node, last) or [node]
        return made

    def _statement(self, node, last):
        if isinstance(node, _BROAD):
            return None
        for field in ("body", "orelse", "finalbody"):
            inner = getattr(node, field, None)
            if isinstance(inner, list):
                goes_on = isinstance(node, (ast.For, ast.While, ast.With, ast.Try))
                setattr(node, field, self.block(inner, last and not goes_on))
        for handler in getattr(node, "handlers", ()):
            handler.body = self.block(handler.body, False)
        return self._call_in(node, last)

    def _call_in(self, node, last):
        value = getattr(node, "value", None)
        if isinstance(node, ast.Expr):
            return self._replaced(value, lambda body: _without_result(body, last))
        if isinstance(node, ast.Return):
            return self._replaced(value, _returned)
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            if isinstance(node.targets[0], ast.Name):
                return self._replaced(value, lambda body: _stored(body, node.targets[0]))
        if isinstance(node, ast.If):
            return self._tested(node)
        return None

    def _tested(self, node):
        # `if self._one():` and `if not self._one():`
        test = node.test
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) and not node.orelse:
            inner = ast.copy_location(ast.If(test.values[-1], node.body, []), node)
            made = self._tested(inner)
            if not made:
                return None
            rest = test.values[:-1]
            test = rest[0] if len(rest) == 1 else ast.BoolOp(ast.And(), rest)
            return [ast.copy_location(ast.If(test, made, []), node)]
        is_not = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        call = test.operand if is_not else test
        name = ast.Name(_NAME.format("result"), ast.Store())
        made = self._replaced(call, lambda body: _stored(body, name))
        if not made:
            return None
        last = made[-1]
        result = ast.Name(name.id, ast.Load())
        if isinstance(last, ast.Assign) and _is_name(last.targets[0], name.id):
            if sum(_is_name(one, name.id) for part in made for one in ast.walk(part)) == 1:
                result = last.value
                made.pop()
        node.test = ast.UnaryOp(ast.Not(), result) if is_not else result
        return made + [node]

    def _replaced(self, value, finish):
        # The statements in place of one that is nothing but a call; None for what stays a call.
        is_generator = isinstance(value, ast.YieldFrom)
        call = value.value if is_generator else value
        if not isinstance(call, ast.Call):
            return None
        callee = self.once.take(self.owner, call)
        if callee is None or _is_generator(callee) is not is_generator:
            return None
        if self.is_generator and not is_generator and len(_stored_in(callee)) > 1:
            return None  # what it makes would be held until the generator ends
        moved = copy.deepcopy(callee)
        first = self._bind(moved, call)
        body = None if first is None else finish(moved.body)
        if body is None:
            return None
        self.once.remove(self.owner, callee)
        self.put.append((len(_bound(callee)), callee.name))
        return [ast.copy_location(one, call) for one in first] + body or [ast.Pass()]

    def _bind(self, moved, call):
        # Gives the parameters and names of a function those of this one; returns the assignments
        # that must come first, None if the call is not a plain one.
        given = list(call.args)
        names = [one.arg for one in moved.args.args]
        if isinstance(call.func, ast.Attribute):
            given.insert(0, ast.Name("self", ast.Load()))
        defaults = dict(zip(reversed(names), reversed(moved.args.defaults)))
        if call.keywords or len(given) > len(names):
            return None
        if any(isinstance(one, ast.Starred) for one in given):
            return None
        for name in names[len(given) :]:
            if not isinstance(defaults.get(name), ast.Constant):
                return None
            given.append(defaults[name])
        stored = _stored_in(moved)
        replaced, first = {}, []
        for name, value in zip(names, given):
            if name not in stored and self._stays_the_same(value):
                replaced[name] = value
        # The names of one that was put here before are free again.
        own = sorted(_bound(moved) - set(replaced))
        new = {name: _NAME.format(number) for number, name in enumerate(own)}
        if any(name in new.values() for value in given for name in _loaded(value)):
            return None
        for name, value in zip(names, given):
            if name in new:
                first.append(ast.Assign([ast.Name(new[name], ast.Store())], value))
        change = _Put(replaced, new)
        moved.body = [change.visit(one) for one in moved.body]
        return first

    def _stays_the_same(self, value):
        # Whether a value may be asked for later, and again, in place of a parameter.
        if isinstance(value, ast.Constant):
            return True
        if isinstance(value, ast.Name):
            return value.id in self.locals or value.id in self.once.consts
        return False


class _Put(ast.NodeTransformer):
    def __init__(self, replaced, new):
        self.replaced = replaced
        self.new = new

    def visit_Name(self, node):
        if node.id in self.replaced:
            return copy.deepcopy(self.replaced[node.id])
        node.id = self.new.get(node.id, node.id)
        return node

    def visit_ExceptHandler(self, node):
        node.name = self.new.get(node.name, node.name)
        return self.generic_visit(node)


# --- what becomes of `return`: None for what can't be written without it


def _without_result(body, last):
    # last: nothing follows, so that the caller may return as well.
    returns = [one for node in body for one in ast.walk(node) if isinstance(one, ast.Return)]
    if last and not any(one.value for one in returns):
        return body
    return _without_return(body, _dropped, False)


def _dropped(value):
    is_nothing = value is None or isinstance(value, (ast.Constant, ast.Name))
    return [] if is_nothing else [ast.Expr(value)]


def _returned(body):
    return body if _ends(body) else body + [ast.Return(None)]


def _stored(body, target):
    def store(value):
        value = value or ast.Constant(None)
        return [ast.fix_missing_locations(ast.Assign([copy.deepcopy(target)], value))]

    return _without_return(body, store, True)


def _without_return(body, result, needed):
    # result: makes the statements in place of one `return`. needed: for no result, too.
    lowered = _lowered(body, result, needed)
    if lowered is not None:
        return lowered
    change = _Break(result)
    loop = change.visit(ast.Module(copy.deepcopy(body), []))
    if change.fails:
        return None
    end = [] if _ends(loop.body) else (result(None) if needed else []) + [ast.Break()]
    return [ast.While(ast.Constant(True), loop.body + end, [])]


class _Break(ast.NodeTransformer):
    # `break` for `return`, where the whole stands in a loop.
    def __init__(self, result):
        self.result = result
        self.fails = False

    def visit_Return(self, node):
        return self.result(node.value) + [ast.Break()]

    def visit_For(self, node):
        self.fails = self.fails or any(isinstance(one, ast.Return) for one in ast.walk(node))
        return node

    visit_While = visit_For


def _lowered(body, result, needed):
    # The same by branches alone, which takes less.
    made = []
    for number, node in enumerate(body):
        rest = body[number + 1 :]
        if isinstance(node, ast.Return):
            return made + result(node.value)
        if any(isinstance(one, ast.Return) for one in ast.walk(node)):
            branches = _branches(node, rest, result, needed)
            return None if branches is None else made + branches
        made.append(node)
        if isinstance(node, ast.Raise):
            return made
    return made + result(None) if needed else made


def _branches(node, rest, result, needed):
    if not isinstance(node, ast.If):
        return None
    if _ends(node.body):
        one, other = node.body, node.orelse + rest
    elif node.orelse and _ends(node.orelse):
        one, other = node.body + rest, node.orelse
    elif not rest:
        one, other = node.body, node.orelse
    else:
        return None
    one, other = _lowered(one, result, needed), _lowered(other, result, needed)
    if one is None or other is None:
        return None
    if not one and other:
        return [ast.If(_negated(node.test), other, [])]
    return [ast.If(node.test, one or [ast.Pass()], other)]


def _negated(test):
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    return ast.UnaryOp(ast.Not(), test)


def _ends(body):
    # Whether nothing behind these statements is reached.
    last = body[-1] if body else None
    if isinstance(last, ast.If):
        return _ends(last.body) and _ends(last.orelse)
    return isinstance(last, (ast.Return, ast.Raise, ast.Break, ast.Continue))


# --- looking


def _can_move(node):
    args = node.args
    if node.decorator_list or args.vararg or args.kwarg or args.kwonlyargs or args.posonlyargs:
        return False
    for child in node.body:
        for one in ast.walk(child):
            if isinstance(one, _CLOSES + (ast.Global, ast.Nonlocal, ast.Delete)):
                return False
            if isinstance(one, (ast.Import, ast.ImportFrom)) or _is_name(one, "super"):
                return False
    return True


def _is_generator(node):
    return any(isinstance(one, (ast.Yield, ast.YieldFrom)) for one in ast.walk(node))


def _is_name(node, name):
    return isinstance(node, ast.Name) and node.id == name


def _loaded(node):
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _stored_in(node):
    # Names that a function's body assigns to.
    found = set()
    for child in node.body:
        for one in ast.walk(child):
            if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
                found.add(one.id)
            elif isinstance(one, ast.ExceptHandler) and one.name:
                found.add(one.name)
    return found


def _bound(node):
    # A function's own names.
    return {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)} | _stored_in(node)
