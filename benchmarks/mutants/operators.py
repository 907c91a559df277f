"""Small changes of a module's code, each of which a test should notice.

Numbers become 100 times larger or smaller, comparisons the opposite, ``and`` and ``or`` change
places, and plus and minus; one of two terms, factors, arms or bounds is dropped, and so is a
``not`` or a ``~``. Text, annotations, indices and what only raises or describes stay as they are.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Mutant", "mutants_of"]

FACTOR = 100
OPPOSITE = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
EXCHANGED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip
EXTREMES = ("max", "min", "maximum", "minimum", "fmax", "fmin")


@dataclass(frozen=True)
class Mutant:
    """A changed module.

    Attributes
    ----------
    module : str
    line : int
        Where the change is.
    before, after : str
        The changed expression, and what it became.
    tree : ast.Module
        The code.
    """

    module: str
    line: int
    before: str
    after: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The change in one line, without its place: it outlives an edit elsewhere."""
        return f"{self.module}: {self.before} -> {self.after}"


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module; the second of two with one name gets a number."""
    tree = ast.parse(source)
    seen: dict[str, int] = {}
    for path, node in list(_expressions(tree, ())):
        for change in _changes(node):
            ast.copy_location(change, node)
            for part in ast.walk(change):
                if not hasattr(part, "lineno") and isinstance(part, ast.expr):
                    ast.copy_location(part, node)
            before, after = _beside(tree, path, node, change)
            number = seen[before + after] = seen.get(before + after, 0) + 1
            after += f" ({number})" if number > 1 else ""
            yield Mutant(module, node.lineno, before, after, _with(tree, path, change))


Path = tuple[tuple[str, int | None], ...]


def _expressions(node: ast.AST, path: Path) -> Iterator[tuple[Path, ast.expr]]:
    """Go through the expressions that decide on a result."""
    if isinstance(node, ast.expr):
        yield path, node
    for name, value in ast.iter_fields(node):
        if _is_left_alone(node, name):
            continue
        if isinstance(value, ast.AST):
            yield from _expressions(value, (*path, (name, None)))
        elif isinstance(value, list):
            for place, part in enumerate(value):
                if isinstance(part, ast.AST):
                    yield from _expressions(part, (*path, (name, place)))


def _is_left_alone(node: ast.AST, field: str) -> bool:
    if isinstance(node, (ast.JoinedStr, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return True
    if isinstance(node, ast.Subscript) and field == "slice":
        return not isinstance(node.slice, (ast.BinOp, ast.Compare, ast.UnaryOp, ast.BoolOp))
    if isinstance(node, ast.AnnAssign) and field == "annotation":
        return True
    if isinstance(node, ast.FunctionDef) and field in ("decorator_list", "returns", "args"):
        return True
    if isinstance(node, ast.ClassDef) and field in ("decorator_list", "bases", "keywords"):
        return True
    if isinstance(node, ast.Call):  # sizes of arrays and axes are no numbers of a formula
        name = ast.unparse(node.func).rpartition(".")[2]
        if name in ("zeros", "ones", "empty", "cast", "range", "TypeVar", "overload", "reshape"):
            return True
    if isinstance(node, ast.keyword):
        return node.arg in ("axis", "dtype", "shape", "keepdims", "strict", "over", "invalid")
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    """Yield what an expression may become."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield from (ast.Constant(value) for value in _other_numbers(node.value))
    elif isinstance(node, ast.Compare) and type(node.ops[-1]) in OPPOSITE:
        for place, operator in enumerate(node.ops):
            if type(operator) not in OPPOSITE:
                continue
            changed = copy.deepcopy(node)
            changed.ops[place] = OPPOSITE[type(operator)]()
            yield changed
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield ast.BoolOp(other, copy.deepcopy(node.values))
        if len(node.values) > 1:
            yield from (_without(node, place) for place in range(len(node.values)))
    elif isinstance(node, ast.BinOp) and type(node.op) in (*EXCHANGED, ast.Mult):
        if type(node.op) in EXCHANGED:
            yield ast.BinOp(copy.deepcopy(node.left), EXCHANGED[type(node.op)](), node.right)
        if not isinstance(node.op, ast.Div):
            yield copy.deepcopy(node.left)
        if not isinstance(node.op, (ast.Sub, ast.Div)):
            yield copy.deepcopy(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert, ast.USub)):
        if not isinstance(node.operand, ast.Constant):
            yield copy.deepcopy(node.operand)
    elif isinstance(node, ast.IfExp):
        yield copy.deepcopy(node.body)
        yield copy.deepcopy(node.orelse)
    elif isinstance(node, ast.Call):
        name = ast.unparse(node.func).rpartition(".")[2]
        if name in EXTREMES and len(node.args) == 2:
            yield from (copy.deepcopy(part) for part in node.args)


def _other_numbers(value: float) -> list[float]:
    if value == 0:
        return [type(value)(1)]
    if isinstance(value, int) and abs(value) < 4:
        return [value + 1]
    smaller = value // FACTOR if isinstance(value, int) else value / FACTOR
    return [value * FACTOR, smaller]


def _without(node: ast.BoolOp, place: int) -> ast.expr:
    values = copy.deepcopy(node.values[:place] + node.values[place + 1 :])
    return values[0] if len(values) == 1 else ast.BoolOp(node.op, values)


def _with(tree: ast.Module, path: Path, change: ast.expr) -> ast.Module:
    """Return the tree with one expression replaced, and share all the rest."""

    def rebuilt(node: ast.AST, steps: Path) -> ast.AST:
        if not steps:
            return change
        (name, place), rest = steps[0], steps[1:]
        shallow = copy.copy(node)
        value = getattr(node, name)
        if place is None:
            setattr(shallow, name, rebuilt(value, rest))
        else:
            setattr(
                shallow, name, [*value[:place], rebuilt(value[place], rest), *value[place + 1 :]]
            )
        return shallow

    result = rebuilt(tree, path)
    assert isinstance(result, ast.Module)
    return result


def _beside(tree: ast.Module, path: Path, node: ast.expr, change: ast.expr) -> tuple[str, str]:
    """Return the change as text: a number or a name alone with what is around it."""
    steps = list(path)
    while len(ast.unparse(node)) < 24 and len(steps) > 1:
        parent: ast.AST = tree
        for name, place in steps[:-1]:
            parent = getattr(parent, name)
            parent = parent if place is None else parent[place]
        if not isinstance(parent, (ast.expr, ast.Assign, ast.AugAssign, ast.Return, ast.AnnAssign)):
            break
        wider = copy.copy(parent)
        name, place = steps.pop()
        value = getattr(parent, name)
        setattr(
            wider, name,
            change if place is None else [*value[:place], change, *value[place + 1 :]],
        )  # fmt: skip
        node, change = parent, wider  # type: ignore[assignment]
    return ast.unparse(node), ast.unparse(ast.fix_missing_locations(copy.deepcopy(change)))
