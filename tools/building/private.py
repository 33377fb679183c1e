"""
Which private name becomes which name of the firmware's. One answer for all of lib/, since files
share names: `device._hub` in one is `self._hub` in another.

A name keeps what it is called where the build can't be certain of it: when it stands in a string
(getattr() may be meant), when umqtt.simple has it, when both a class's attribute and a module's
name are meant by it, when a call somewhere passes it by keyword.
"""

import ast

from . import firmware
from .source import is_private, stored_names


def module_names(source, sources):
    """{name: dotted name} of the modules of lib/ that a file imports as such, anywhere in it."""
    found = {}
    for node in ast.walk(source.whole):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name, bound in source.bound_by(node).items():
                dotted = bound[1] if bound[0] == "module" else bound[1] + "." + bound[2]
                if dotted in sources:
                    found[name] = dotted
    return found


class Names:
    """
    sources: {module: Source}, all of lib/. files: lists of modules that end up in one file.
    foreign: names that umqtt.simple (every version) uses. inner: modules whose names no program
    uses: all of them count as private.

    attributes: {private name: new name}. globals: {(module, private name): new name}.
    keywords: names that some call passes by keyword, or that stand in a string.
    """

    def __init__(self, sources, files, foreign, inner=()):
        self.sources = sources
        self.foreign = set(foreign)
        self.words = set().union(*(one.strings for one in sources.values()))
        # One that is loaded by its name may have its names looked up in the same way.
        self.inner = {one for one in inner if one.rpartition(".")[2] not in self.words}
        self.keywords = set(self.words)
        self._seen_attributes = set()
        self._families = _Families()
        self._methods = {}  # method -> the modules whose classes have it
        self._names = set()  # every plain name that lib/ uses or binds
        for source in sources.values():
            self._names.update(_plain_names(source.tree))
            if source.of == source.module:  # a part of another one has nothing new
                self._look_at(source)
        self._own = self._own_globals()
        # Names that might be an attribute's or a module's: both keep them.
        outside = self._seen_attributes - self._families.everything
        self._unclear = outside & {name for _, name in self._own}
        self.globals = self._give_globals(files)
        self.attributes = self._give_attributes(files)

    # -- looking

    def _look_at(self, source):
        modules = module_names(source, self.sources)
        for node in ast.walk(source.whole):
            if isinstance(node, ast.Attribute):
                self._look_at_attribute(node, modules)
            elif isinstance(node, ast.keyword) and node.arg:
                self.keywords.add(node.arg)
            elif isinstance(node, ast.Name):
                self._names.add(node.id)
            elif isinstance(node, ast.arg):
                self._names.add(node.arg)
            elif isinstance(node, ast.alias):
                self._names.update((node.name.partition(".")[0], node.asname or ""))
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._names.add(node.name)
            elif isinstance(node, ast.ClassDef):
                self._names.add(node.name)
                self._look_at_class(source, node)

    def _look_at_attribute(self, node, modules):
        owner = node.value.id if isinstance(node.value, ast.Name) else None
        if owner in modules:
            return  # a module's name
        self._seen_attributes.add(node.attr)
        if isinstance(node.ctx, ast.Store) and owner not in ("self", "cls"):
            self._families.wild.add(node.attr)

    def _look_at_class(self, source, node):
        members = set()
        for child in node.body:
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                members.add(child.name)
                self._methods.setdefault(child.name, set()).add(source.module)
            for one in ast.walk(child):
                if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name):
                    if one.value.id in ("self", "cls"):
                        members.add(one.attr)
            if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                members.update(stored_names(child))
        bases = set()
        for base in node.bases:
            bases |= self._called(source, base)
        self._families.join(node.name, bases, members)

    def _called(self, source, base):
        # The names that a base class may have elsewhere. Classes called alike count as one.
        name = getattr(base, "attr", getattr(base, "id", None))
        if name is None:
            return set()
        found = {name}
        bound = source.top.get(name, ())
        if bound[:1] == ("name",):
            found.add(bound[2])
        for node in source.tree.body:
            if isinstance(node, ast.Assign) and name in stored_names(node):
                for one in ast.walk(node.value):
                    found.add(getattr(one, "attr", getattr(one, "id", name)))
        return found

    def _own_globals(self):
        # (module, name) of every private name that a module binds itself.
        return sorted(
            (module, name)
            for module, source in self.sources.items()
            for name, bound in source.top.items()
            if self._is_ours(module, name, bound)
        )

    def _is_ours(self, module, name, bound):
        if not is_private(name):
            return module in self.inner and bound == ("own",) and self._is_plain(name)
        return bound == ("own",) or name not in bound and bound != ("const",)

    def _is_plain(self, name):
        # An attribute called so may be this name of a module that was loaded on demand.
        return name not in self._seen_attributes and not name.startswith("__")

    @property
    def every_name(self):
        """Every plain name that lib/ uses or binds."""
        return self._names

    def _is_certain(self, name):
        return not (name in self.words or name in self.foreign or name in self._unclear)

    # -- giving

    def _give_globals(self, files):
        togethers = [set(file) for file in files] + [{module} for module in self.sources]
        # Where a name is present: in its own module, and where it is imported from there.
        present = {key: {key[0]} for key in self._own}
        for module, source in self.sources.items():
            for name, bound in source.top.items():
                if bound[0] == "name" and bound[1:] in present and name == bound[2]:
                    present[bound[1:]].add(module)
        pool = [
            name
            for name in firmware.FOR_GLOBALS
            if not {name} & (self._names | self.foreign | self._families.everything)
        ]
        given = {}
        resident = {module for file in files for module in file}
        order = sorted(
            self._own, key=lambda key: (key[0] not in resident, not is_private(key[1]), key)
        )
        for key in order:
            if not self._is_certain(key[1]):
                continue
            near = set(present[key])
            for together in togethers:
                if together & present[key]:
                    near |= together
            taken = {new for other, new in given.items() if present[other] & near}
            for new in pool:
                if new not in taken:
                    given[key] = new
                    break
        return given

    def _give_attributes(self, files):
        used = self._seen_attributes | self._families.everything | self.foreign | self.words
        pool = [name for name in firmware.FOR_ATTRIBUTES if name not in used]
        private = sorted(name for name in self._families.everything if is_private(name))
        # Methods early: they are what a traceback shows, so each gets a name that no other method
        # in its file has.
        order = sorted(
            private,
            key=lambda name: (name not in self._families.wild, name not in self._methods, name),
        )
        given = {}
        for name in order:
            if not self._is_certain(name):
                continue
            taken = set()
            for other, new in given.items():
                if self._in_one_file(name, other, files) or self._families.meet(name, other):
                    taken.add(new)
            free = [new for new in pool if new not in taken]
            if not free:  # then methods may share, as long as no class has both
                taken = {new for other, new in given.items() if self._families.meet(name, other)}
                free = [new for new in pool if new not in taken]
            if free:
                given[name] = free[0]
        return given

    def _in_one_file(self, name, other, files):
        # Whether both are methods, of classes that come into one file.
        one, two = self._methods.get(name, set()), self._methods.get(other, set())
        return bool(one & two) or any(one & set(file) and two & set(file) for file in files)


def _plain_names(tree):
    return {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)}


class _Families:
    # Classes that are, or may be, related; which attribute belongs to which family.

    def __init__(self):
        self.wild = set()  # attributes that are put on objects from outside: on whose, who knows
        self._parent = {}
        self._of = {}  # attribute -> class names

    @property
    def everything(self):
        """All attributes that some class has."""
        return set(self._of)

    def join(self, name, bases, members):
        """A class, the names of what it stands on, and its attributes."""
        for base in bases | {name}:
            if base and base != "object":
                self._parent[self._root(base)] = self._root(name)
        for member in members:
            self._of.setdefault(member, set()).add(name)

    def _root(self, name):
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def meet(self, one, other):
        """Whether one object may have both attributes."""
        if one in self.wild or other in self.wild:
            return True
        roots = {self._root(name) for name in self._of[one]}
        return bool(roots & {self._root(name) for name in self._of[other]})
