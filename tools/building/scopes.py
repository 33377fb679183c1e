"""Puts new names into a syntax tree, by Python's rules of scope."""

import ast

from . import firmware
from .source import is_private, stored_names


_FREE = set(firmware.FOR_PARAMETERS) | {"self", "_"}  # these cost nothing as they are


class _Function:
    # bound: names of its own; new: {name: new name} of those that change.
    def __init__(self, bound, new, taken):
        self.bound = bound
        self.new = new
        self.taken = taken  # what its parameters must not be called


class _Class:
    # bound: names that it has so far; before that, the name is one from outside.
    def __init__(self):
        self.bound = set()


class Renamer(ast.NodeTransformer):
    """
    Renames the tree of one Source in place.

    names: private.Names. top: {name at the top: new name}. modules: {name: dotted} of modules of
    lib/ that the file imports. inside: {dotted module: {its name: name in this file}} of modules
    that are in the same file: what is taken out of them is a plain name here. elsewhere: {dotted
    module: (dotted module that holds it, {its name: name there})} of modules that are not files.
    functions: filled with (new name, old name, line, last line, names it calls), one a function.
    """

    def __init__(self, source, names, top, modules, inside, elsewhere):
        self.source = source
        self.names = names
        self.top = top
        self.modules = modules
        self.inside = inside
        self.elsewhere = elsewhere
        self.functions = []
        self._stack = []
        self._path = []

    def run(self):
        """The renamed ast.Module."""
        return self.visit(self.source.tree)

    # -- names

    def _stored(self, name):
        # What a name becomes that is being bound.
        if self._stack and isinstance(self._stack[-1], _Class):
            return self._attribute(name)
        return self._resolve(name)

    def _resolve(self, name):
        for depth, scope in enumerate(reversed(self._stack)):
            if isinstance(scope, _Class):
                if depth == 0 and name in scope.bound:
                    return self._attribute(name)
            elif name in scope.bound:
                return scope.new.get(name, name)
        return self.top.get(name, name)

    def _is_local(self, name):
        return any(
            name in scope.bound
            for depth, scope in enumerate(reversed(self._stack))
            if isinstance(scope, _Function) or depth == 0
        )

    def _attribute(self, name):
        return self.names.attributes.get(name, name)

    def visit_Name(self, node):
        if self._module(node.id) in self.inside:
            raise ValueError(
                "{}, line {}: the module {} is used as a value; the build joins it into one file"
                " with this one: use its names instead".format(
                    self.source.path, node.lineno, node.id
                )
            )
        loaded = isinstance(node.ctx, ast.Load)
        node.id = self._resolve(node.id) if loaded else self._stored(node.id)
        return node

    def visit_Attribute(self, node):
        if isinstance(node.value, ast.Name) and self._module(node.value.id):
            module = self._module(node.value.id)
            if module in self.inside and node.attr in self.inside[module]:
                return ast.copy_location(ast.Name(self.inside[module][node.attr], node.ctx), node)
            node.attr = self.names.globals.get((module, node.attr), node.attr)
        else:
            node.attr = self._attribute(node.attr)
        self.generic_visit(node)
        return node

    def _module(self, name):
        for scope in reversed(self._stack):
            if isinstance(scope, _Function) and name in scope.bound:
                return self.modules.get(name) if name in scope.modules else None
        return self.modules.get(name) if name in self.source.top else None

    def visit_Global(self, node):
        node.names = [self.top.get(name, name) for name in node.names]
        return node

    def visit_Nonlocal(self, node):
        node.names = [self._resolve(name) for name in node.names]
        return node

    # -- imports

    def visit_Import(self, node):
        kept = []
        for alias in node.names:
            bound = alias.asname or alias.name.partition(".")[0]
            if self.modules.get(bound) in self.inside:
                continue
            new = self._stored(bound)
            if new != bound:
                alias.asname = new
            kept.append(alias)
        node.names = kept
        return node if kept else None

    def visit_ImportFrom(self, node):
        origin = self.source.origin(node)
        kept = []
        assigned = []
        for alias in node.names:
            bound = alias.asname or alias.name
            if origin in self.inside:
                if origin + "." + alias.name in self.inside:
                    continue
                if alias.name in self.inside[origin]:
                    if self._is_local(bound):  # inside a function or class: a name of its own
                        value = ast.Name(self.inside[origin][alias.name], ast.Load())
                        target = ast.Name(self._resolve(bound), ast.Store())
                        if value.id != target.id:
                            assigned.append(ast.Assign([target], value))
                    continue
            new = self._stored(bound)
            if origin in self.elsewhere:
                alias.name = self.elsewhere[origin][1].get(alias.name, alias.name)
            else:
                alias.name = self.names.globals.get((origin, alias.name), alias.name)
            alias.asname = new if new != alias.name else None
            kept.append(alias)
        node.names = kept
        if node.level and self.inside and origin:
            node.level, node.module = 0, origin
        if origin in self.elsewhere:
            node.level, node.module = 0, self.elsewhere[origin][0]
        made = ([node] if kept else []) + assigned
        return [ast.fix_missing_locations(ast.copy_location(one, node)) for one in made] or None

    # -- scopes

    def visit_ClassDef(self, node):
        node.bases = [self.visit(base) for base in node.bases]
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        old = node.name
        node.name = self._stored(node.name)
        self._stack.append(_Class())
        self._path.append(old)
        node.body = self._body(node.body)
        self._path.pop()
        self._stack.pop()
        return node

    def visit_FunctionDef(self, node):
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        self._visit_defaults(node.args)
        old = node.name
        nested = any(isinstance(scope, _Function) for scope in self._stack)
        node.name = self._stored(node.name)
        private = is_private(old) or nested
        if self.source.module in self.names.inner and not self._stack:
            private = True
        if old == "__init__" and self._path and is_private(self._path[-1]):
            private = True
        calls = sorted(
            {
                getattr(one.func, "attr", getattr(one.func, "id", ""))
                for one in ast.walk(node)
                if isinstance(one, ast.Call)
            }
        )
        self.functions.append(
            (node.name, ".".join(self._path + [old]), node.lineno, node.end_lineno, calls)
        )
        self._enter(node, node.body, private)
        self._path.append(old)
        node.body = self._body(node.body)
        self._path.pop()
        self._stack.pop()
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node):
        self._visit_defaults(node.args)
        self._enter(node, [node.body], True)
        node.body = self.visit(node.body)
        self._stack.pop()
        return node

    def _body(self, body):
        made = []
        for child in body:
            binds = _bound_by(child)
            done = self.visit(child)
            if self._stack and isinstance(self._stack[-1], _Class):
                self._stack[-1].bound |= binds
            if isinstance(done, list):
                made += done
            elif done is not None:
                made.append(done)
        return made or [ast.Pass()]

    def generic_visit(self, node):
        # A branch that loses its only statement still needs one.
        super().generic_visit(node)
        for field in ("body",):
            if isinstance(getattr(node, field, None), list) and not node.body:
                if not isinstance(node, ast.Module):
                    node.body = [ast.Pass()]
        return node

    def _visit_defaults(self, args):
        args.defaults = [self.visit(one) for one in args.defaults]
        args.kw_defaults = [one and self.visit(one) for one in args.kw_defaults]

    def _enter(self, node, body, private):
        # A function's own scope; if it is private its parameters get new names.
        arguments = _arguments(node.args)
        outer = {name for child in body for name in _declared_outer(child)}
        bound = set(arguments).union(*map(_bound_by, body)) - outer
        loaded, modules = self._mentioned(body)
        taken = loaded | set(arguments) | outer | {self.top.get(name, name) for name in loaded}
        for scope in self._stack:
            if isinstance(scope, _Function):
                taken |= set(scope.new.values())
        nested = sorted(
            one.name
            for child in body
            for one in _functions_in(child)
            if one.name in bound and one.name not in outer
        )
        wanted = [name for name in arguments if private and name != "self"] + nested
        scope = _Function(bound, self._new_names(wanted, taken), taken)
        scope.modules = modules
        self._stack.append(scope)
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.arg = scope.new.get(argument.arg, argument.arg)

    def _mentioned(self, body):
        # (names that a function's body mentions, at any depth; those of modules it imports)
        loaded, modules = set(), set()
        for child in body:
            for one in ast.walk(child):
                if isinstance(one, ast.Name):
                    loaded.add(one.id)
                elif isinstance(one, ast.arg):
                    loaded.add(one.arg)
                elif isinstance(one, (ast.Import, ast.ImportFrom)):
                    modules.update(self.source.bound_by(one))
                elif isinstance(one, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler)):
                    loaded.add(one.name)
        loaded.discard(None)
        return loaded | modules, modules

    def _new_names(self, wanted, taken):
        # {name: one that costs nothing} for those of `wanted` that may change; `taken` grows.
        new = {}
        for name in wanted:
            if name in self.names.keywords or name in _FREE or name in new:
                continue
            for one in firmware.FOR_PARAMETERS:
                if one not in taken:
                    new[name] = one
                    taken.add(one)
                    break
        return new

    def _comprehension(self, node):
        node.generators[0].iter = self.visit(node.generators[0].iter)
        bound = set()
        for one in node.generators:
            bound.update(stored_names(one.target))
        scope = _Function(bound, {}, set())
        scope.modules = set()
        self._stack.append(scope)
        for number, one in enumerate(node.generators):
            one.target = self.visit(one.target)
            if number:
                one.iter = self.visit(one.iter)
            one.ifs = [self.visit(test) for test in one.ifs]
        for field in ("elt", "key", "value"):
            if hasattr(node, field):
                setattr(node, field, self.visit(getattr(node, field)))
        self._stack.pop()
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_ExceptHandler(self, node):
        if node.type:
            node.type = self.visit(node.type)
        if node.name:
            node.name = self._resolve(node.name)
        node.body = self._body(node.body)
        return node


def _arguments(args):
    found = [one.arg for one in args.posonlyargs + args.args + args.kwonlyargs]
    return found + [one.arg for one in (args.vararg, args.kwarg) if one]


def _bound_by(node):
    # Names that a statement binds in the scope in which it stands.
    found = set(stored_names(node))
    for one in _shallow(node):
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(one.name)
        elif isinstance(one, (ast.Import, ast.ImportFrom)):
            for alias in one.names:
                found.add(alias.asname or alias.name.partition(".")[0])
    return found


def _declared_outer(node):
    # Names that a statement declares global or nonlocal.
    for one in _shallow(node):
        if isinstance(one, (ast.Global, ast.Nonlocal)):
            yield from one.names


def _functions_in(node):
    for one in _shallow(node):
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield one


def _shallow(node):
    # A node and what lies in it, without what lies in functions and classes.
    yield node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from _shallow(child)
