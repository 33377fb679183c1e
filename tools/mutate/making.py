"""
Makes mutants of a Python file: the same text with one small fault, such as `<=` for `<`.

Five kinds: comparisons, boolean operators and conditions, constants, removed statements, returned
values. Texts are left alone, and so is what a module does while it is imported, but for const().
"""

import ast
import random
import re
from typing import NamedTuple

_COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: (r"is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: (r"in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
}


class Mutant(NamedTuple):
    """line: of the fault. what: the fault in words. text: the whole file with it (bytes)."""

    line: int
    what: str
    text: bytes


class _Maker(ast.NodeVisitor):
    def __init__(self, source):
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.made = []
        self.in_function = 0

    # -- places

    def start(self, node):
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node):
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node):
        return self.source[self.start(node) : self.end(node)].decode()

    def replace(self, node, start, end, new):
        old = " ".join(self.source[start:end].decode().split())
        text = self.source[:start] + new.encode() + self.source[end:]
        what = "{} -> {}".format(old if len(old) < 60 else old[:57] + "...", new[:60])
        self.made.append(Mutant(node.lineno, what, text))

    def between(self, left, right, pattern, new):
        """Replace the operator that stands between two nodes."""
        start, end = self.end(left), self.start(right)
        found = re.search(pattern, self.source[start:end].decode())
        if found:
            self.replace(left, start + found.start(), start + found.end(), new)

    # -- what is changed

    def visit_FunctionDef(self, node):
        self.in_function += 1
        for one in node.body:
            self.visit(one)
        self.in_function -= 1

    def visit_Compare(self, node):
        left = node.left
        for operator, right in zip(node.ops, node.comparators):
            self.between(left, right, *_COMPARISONS[type(operator)])
            left = right
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:]):
            self.between(left, right, r"\b{}\b".format(old), new)
        self.generic_visit(node)

    def condition(self, node):
        test = node.test
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            new = "(" + self.text(test.operand) + ")"
            self.replace(test, self.start(test), self.end(test), new)
        elif not isinstance(test, (ast.Compare, ast.BoolOp, ast.Constant)):
            new = "not (" + self.text(test) + ")"
            self.replace(test, self.start(test), self.end(test), new)
        self.generic_visit(node)

    visit_If = visit_While = visit_IfExp = condition

    def visit_Constant(self, node):
        if isinstance(node.value, bool):
            self.replace(node, self.start(node), self.end(node), str(not node.value))
        elif isinstance(node.value, int):
            self.replace(node, self.start(node), self.end(node), str(node.value + 1))

    def remove(self, node):
        if self.in_function:
            self.replace(node, self.start(node), self.end(node), "pass")
        self.generic_visit(node)

    visit_AugAssign = visit_Raise = visit_Delete = remove

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call):
            self.remove(node)
        elif not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Assign(self, node):
        if all(isinstance(one, ast.Name) for one in node.targets):
            self.generic_visit(node)  # without it there is a NameError, as a rule
        else:
            self.remove(node)

    def visit_Return(self, node):
        if node.value and not isinstance(node.value, ast.Constant):
            self.replace(node, self.start(node.value), self.end(node.value), "None")
        self.generic_visit(node)


def make(source):
    """All mutants (list of Mutant) of a file's text (bytes), in the order of their lines."""
    maker = _Maker(source)
    maker.visit(ast.parse(source))
    good = []
    for mutant in maker.made:
        try:
            compile(mutant.text, "mutant", "exec")
        except SyntaxError:
            continue
        good.append(mutant)
    return sorted(good, key=lambda one: one.line)


def sample(mutants, count, seed):
    """`count` of them at most, chosen by a seed: the same ones for the same text."""
    if len(mutants) <= count:
        return mutants
    chosen = sorted(random.Random(seed).sample(range(len(mutants)), count))
    return [mutants[i] for i in chosen]
