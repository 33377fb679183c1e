"""
umqtt.simple in two files: what the link takes from it, and what only a program that uses
umqtt.simple's own client needs.

The link stands on MQTTClient for its names and fields, and does all that moves bytes itself. So
the built umqtt/simple holds the class with its constructor and settings; its other methods load
umqtt/simple_whole at their first call, which puts the real ones in their place. Classes, arguments
and results are those of micropython-lib's file (MIT licence).
"""

import ast

_KEPT = ("__init__", "set_callback", "set_last_will")
_REST = "umqtt.simple_whole"

# `_` costs a board nothing as a name, and no `import *` takes it along.
_LOAD = """
def _(name):
    import {rest}
    for key in {names}:
        setattr(MQTTClient, key, getattr(umqtt.simple_whole, key))
    return getattr(MQTTClient, name)
"""
_STUB = """
def {name}(self, *args, **keys):
    return _("{name}")(self, *args, **keys)
"""


def split(source):
    """
    umqtt.simple's source (str) -> {module: source} of the two files.

    Raises ValueError for a file that isn't built like micropython-lib's.
    """
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found = [node for node in classes if node.name == "MQTTClient"]
    others = [node for node in tree.body if node not in classes and not _is_import(node)]
    if len(found) != 1 or others:
        raise ValueError("umqtt.simple: not a file with MQTTClient and imports alone")
    (client,) = found
    kept, moved = [], []
    for node in client.body:
        if not isinstance(node, ast.FunctionDef):
            raise ValueError("umqtt.simple: MQTTClient has more than methods")
        (kept if node.name in _KEPT else moved).append(node)
    names = tuple(node.name for node in moved)
    for name in names:
        if not name.startswith("_"):
            kept += ast.parse(_STUB.format(name=name)).body
    client.body = kept
    imports = [node for node in tree.body if _is_import(node)]
    load = ast.parse(_LOAD.format(rest=_REST, names=names)).body
    lean = _with_imports(imports, classes + load)
    exceptions = [node.name for node in classes if node is not client]
    taken = ast.ImportFrom("umqtt.simple", [ast.alias(name) for name in exceptions], 0)
    return {"umqtt.simple": lean, _REST: _with_imports(imports + [taken], moved)}


def _is_import(node):
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _with_imports(imports, body):
    used = {node.id for one in body for node in ast.walk(one) if isinstance(node, ast.Name)}
    needed = [
        node
        for node in imports
        if used & {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    ]
    tree = ast.fix_missing_locations(ast.Module(needed + body, []))
    return ast.unparse(tree) + "\n"
