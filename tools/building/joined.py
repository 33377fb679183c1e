"""The resident files of a service as one module; each other file by itself."""

import ast
import collections
import re

from . import scopes
from .private import module_names
from .source import is_private, stored_names


class Module:
    """One module that a board gets. name: as it is imported; source: its text."""

    def __init__(self, name, is_package, tree, functions):
        self.name = name
        self.is_package = is_package
        self.source = written(tree)
        self.functions = functions  # (new name, old name, module of lib/, lines, calls)

    @property
    def file(self):
        """Its path below the library's directory, without the ending."""
        return self.name.replace(".", "/") + ("/__init__" if self.is_package else "")


def written(tree):
    """
    A tree as text. MicroPython's compiler makes no tuple of `a, b = b, a`, but makes one when the
    right side stands in parentheses, as ast.unparse() writes it: here it doesn't.
    """
    bare = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) and node.value.elts:
            if isinstance(node.targets[-1], (ast.Tuple, ast.List)):
                name = "_bare_tuple_{}_".format(len(bare))
                bare[name] = ", ".join(ast.unparse(one) for one in node.value.elts)
                node.value = ast.Name(name, ast.Load())
    text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    return re.sub("_bare_tuple_[0-9]+_", lambda match: bare[match.group()], text)


def alone(source, names, sources, elsewhere=None):
    """
    A file of lib/ by itself as a Module. elsewhere: as scopes.Renamer takes it, what it imports
    from modules that are in another file.
    """
    return _Joining(source.module, [source], names, sources).module(elsewhere)


def joined(main, parts, names, sources, elsewhere=None):
    """
    Several modules as one Module, which answers to all of their names once it is imported, but for
    inner ones. Its `finals` say what each module's names are called there, as stand_in() takes it.

    main: the module that gives the name. parts: all of them, each behind what it imports.
    elsewhere: as alone() takes it.
    """
    joining = _Joining(main, [sources[part] for part in parts], names, sources)
    made = joining.module(elsewhere)
    made.finals = joining.finals
    return made


def hidden(main, parts, names, sources):
    """How other files get at the inner ones of modules that are joined, as alone() takes it."""
    finals = _Joining(main, [sources[part] for part in parts], names, sources).finals
    return {part: (main, finals[part]) for part in parts if part in names.inner and part != main}


def stand_in(module, main, names, sources, finals):
    """
    A Module for `import module` before the one that holds it: it takes the names from there,
    where another module's may have had the same, what makes names when they are asked for, and the
    private ones that other files take.
    """
    wanted = _wanted_elsewhere(sources)[module] | {"__getattr__"}
    taken = []
    for name, bound in sorted(sources[module].top.items()):
        if bound == ("own",) and (not name.startswith("_") or name in wanted):
            called = names.globals.get((module, name), name)
            final = finals[module][name]
            taken.append(final if final == called else "{} as {}".format(final, called))
    text = "from {} import {}\n".format(main, ", ".join(taken))
    return Module(module, False, ast.parse(text), [])


def _wanted_elsewhere(sources):
    # {module: names of its that other files take}
    found = collections.defaultdict(set)
    for source in sources.values():
        for bound in source.top.values():
            if bound[0] == "name":
                found[bound[1]].add(bound[2])
    return found


class _Joining:
    def __init__(self, main, parts, names, sources):
        self.main = main
        self.parts = parts
        self.names = names
        self.sources = sources
        # {module: {its name at the top: its name in this file}}
        self.finals = {part.module: {} for part in self.parts}
        self.apart = {}  # module -> names of its that are called differently here
        if len(self.parts) > 1:
            self._name_all()
        else:
            self._name_one()

    def _name_one(self):
        part = self.parts[0]
        for name, bound in part.top.items():
            new = self.names.globals.get((part.module, name))
            if new is None and bound[0] == "name" and bound[2] == name:
                new = self.names.globals.get((bound[1], name))
            self.finals[part.module][name] = new or name

    def _name_all(self):
        # What each module's names are called in the one file.
        public, outside = self._owners()
        for part in self.parts:
            for name, bound in part.top.items():
                self.finals[part.module][name] = self._final(part, name, bound, public, outside)

    def _owners(self):
        # ({public name: the module whose own it is and that keeps it}, {name: what is imported by
        # it from outside this file}).
        public, outside = {}, {}
        for part in self.parts:
            for name, bound in part.top.items():
                if bound == ("own",) and not is_private(name):
                    if self._keeps(part.module, public.get(name)):
                        public[name] = part.module
                elif bound[0] in ("name", "module") and not self._is_inside(bound):
                    if outside.setdefault(name, bound) != bound:
                        raise ValueError("{} means two things in {}".format(name, self.main))
        return public, outside

    def _keeps(self, module, before):
        # Whether a public name stays with a module, where `before` has it, too: with the main one;
        # with one that a program uses before one that none does, and one that makes names when
        # they are asked for before one that doesn't.
        if not before or module == self.main:
            return True
        return module not in self.names.inner and "__getattr__" not in self.sources[before].top

    def _final(self, part, name, bound, public, outside):
        # One branch for each kind of name.
        short = "_" + part.module.replace(".", "_")
        final = self.names.globals.get((part.module, name), name)
        if bound == ("const",):
            return short + name
        if bound == ("own",) and is_private(name):
            is_taken = final == name and name in self._private_elsewhere(part, name)
            return short + name if is_taken else final
        if bound == ("own",):
            if public[name] != part.module or name in outside:
                if part.module not in self.names.inner:
                    self.apart.setdefault(part.module, []).append(name)
                return short + "_" + name
        elif bound[0] == "name" and bound[1] in self.finals:
            if self._is_inside(bound) == "name":
                return self.finals[bound[1]][bound[2]]
        return final

    def _private_elsewhere(self, part, name):
        return {
            name for other in self.parts if other is not part and other.top.get(name) == ("own",)
        }

    def _is_inside(self, bound):
        # "module" or "name" when an import leads to another part of this file, else "".
        if bound[0] == "module":
            return "module" if bound[1] in self.finals else ""
        if bound[1] + "." + bound[2] in self.finals:
            return "module"
        return "name" if bound[1] in self.finals else ""

    def module(self, elsewhere=None):
        """The Module."""
        body, functions = [], []
        single = len(self.parts) == 1
        for part in self.parts:
            part = part.again()  # its tree is changed in place
            inside = (
                {}
                if single
                else {
                    module: finals
                    for module, finals in self.finals.items()
                    if module != part.module
                }
            )
            renamer = scopes.Renamer(
                part,
                self.names,
                self.finals[part.module],
                module_names(part, self.sources),
                inside,
                elsewhere or {},
            )
            body += renamer.run().body
            functions += [
                (new, old, part.of, [line, last], calls)
                for new, old, line, last, calls in renamer.functions
            ]
        if not single:
            body = _imports_once(body) + ast.parse(self._registration()).body
            hidden = [one for one in self.finals if one in self.names.inner and one != self.main]
            _merge_classes(body, {name for one in hidden for name in self.finals[one].values()})
        main = self.sources[self.main]
        tree = ast.Module(body, [])
        is_package = main.path.name == "__init__.py" and main.of == main.module
        return Module(self.main, is_package, tree, functions)

    def _registration(self):
        # `import mqtt_link`, and what other files import, finds the part in this file.
        lines = ["import sys"]
        others = [
            part.module
            for part in self.parts
            if part.module != self.main and part.module not in self.names.inner
        ]
        plain = [module for module in others if module not in self.apart]
        wanted = _wanted_elsewhere(self.sources)
        for module in others:
            below = self.main + "."
            if module.startswith(below):
                lines.append("{} = sys.modules[__name__]".format(module[len(below) :]))
        if plain:
            lines.append(
                " = ".join('sys.modules["{}"]'.format(module) for module in plain)
                + " = sys.modules[__name__]"
            )
        for module in others:
            if module not in plain:
                # Names that mean something else to the main module: this part is a class.
                lines.append("class {}:".format(module))
                for name, bound in self.sources[module].top.items():
                    if bound == ("own",) and (not name.startswith("_") or name in wanted[module]):
                        called = self.names.globals.get((module, name), name)
                        lines.append("    {} = {}".format(called, self.finals[module][name]))
                lines.append('sys.modules["{0}"] = {0}'.format(module))
        return "\n".join(lines) + "\n"


def _merge_classes(body, hidden):
    """
    Makes one class of two where one stands on the other and nothing else names that: a class takes
    100 bytes of heap beside what is in it. hidden: names in this file that no other file asks for.
    """
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    used = collections.Counter(
        one.id for node in body for one in ast.walk(node) if isinstance(one, ast.Name)
    )
    for heir in classes.values():
        names = [base.id for base in heir.bases if isinstance(base, ast.Name)]
        base = classes.get(names[0]) if len(names) == len(heir.bases) == 1 else None
        is_plain = base and not (base.decorator_list or heir.decorator_list)
        if not is_plain or base.name not in hidden or used[base.name] != 1 or _names_super(heir):
            continue
        own = {name for node in heir.body for name in _bound_in_class(node)}
        inherited = [node for node in base.body if not own.issuperset(_bound_in_class(node))]
        heir.body = inherited + heir.body
        heir.bases = base.bases
        body.remove(base)


def _names_super(node):
    return any(isinstance(one, ast.Name) and one.id == "super" for one in ast.walk(node))


def _bound_in_class(node):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    return set(stored_names(node))


def _imports_once(body):
    # Plain imports that an earlier part has made already.
    seen = set()
    kept = []
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None)
            fresh = []
            for alias in node.names:
                key = (module, alias.name, alias.asname)
                if key not in seen:
                    seen.add(key)
                    fresh.append(alias)
            node.names = fresh
            if not fresh:
                continue
        kept.append(node)
    return kept
