"""
umqtt.simple in two files: what the link takes from it, and what only a program that uses
umqtt.simple's own client needs.

The link stands on MQTTClient for its name and its fields, and does everything itself. So the built
umqtt/simple holds a class without methods, which the link finds as `_`. A program that asks for
MQTTClient gets the same class: umqtt/simple_whole is loaded then and puts the methods into it. The
link's constructor and set_last_will() bring those of MQTTClient that they call.

Beside another umqtt/simple, one frozen in the firmware say, the link stands on that one's class.
Classes, arguments and results are those of micropython-lib's file (MIT licence).
"""

import ast

CLIENT = "MQTTClient"
_REST = "umqtt.simple_whole"

# `_` costs a board nothing as a name, and no `import *` takes it along.
_LEAN = """
class MQTTClient:
    pass
_ = MQTTClient
del MQTTClient
def __getattr__(name):
    if name == "MQTTClient":
        import umqtt.simple_whole
        return _
    raise AttributeError(name)
"""
_STAND = """
try:
    from umqtt.simple import _ as MQTTClient, MQTTException
except ImportError:
    from umqtt.simple import MQTTClient, MQTTException
"""


def split(source):
    """
    umqtt.simple's source (str) -> {module: source} of the two files.

    Raises ValueError for a file that isn't built like micropython-lib's.
    """
    tree = ast.parse(source)
    client, exceptions = _classes(tree)
    imports = [node for node in tree.body if _is_import(node)]
    lean = _with_imports(imports, exceptions + ast.parse(_LEAN).body)
    taken = [ast.alias(node.name) for node in exceptions] + [ast.alias("_")]
    put = "".join("_.{0} = {0}\n".format(node.name) for node in client.body)
    whole = [ast.ImportFrom("umqtt.simple", taken, 0)] + client.body + ast.parse(put).body
    return {"umqtt.simple": lean, _REST: _with_imports(imports, whole)}


def methods(source):
    """umqtt.simple's source (str) -> {name: ast.FunctionDef} of MQTTClient."""
    return {node.name: node for node in _classes(ast.parse(source))[0].body}


def stand_on_lean(tree):
    """Changes the import of MQTTClient in the link's tree (in place) to the lean class."""
    for node in ast.walk(tree):
        for child in node.body if isinstance(node, ast.Try) else ():
            if isinstance(child, ast.ImportFrom) and child.module == "umqtt.simple":
                node.body[node.body.index(child)] = ast.parse(_STAND).body[0]
                return
    raise ValueError("the link does not import umqtt.simple in a `try`")


def _classes(tree):
    # MQTTClient, of methods alone, and the list of other classes. There must be nothing else.
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found = [node for node in classes if node.name == CLIENT]
    others = [node for node in tree.body if node not in classes and not _is_import(node)]
    if len(found) != 1 or others:
        raise ValueError("umqtt.simple: not a file with MQTTClient and imports alone")
    if not all(isinstance(node, ast.FunctionDef) for node in found[0].body):
        raise ValueError("umqtt.simple: MQTTClient has more than methods")
    return found[0], [node for node in classes if node not in found]


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
