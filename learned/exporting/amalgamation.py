"""Plain code out of this package: what some functions need, as the text of one module.

Of every module that is reached only the definitions that are reached are taken. What a
program in JAX has no use for goes: annotations, checks of settings, branches for torch; and
`namespace(x)` is jax.numpy. Names stay as they are but where two are the same.
"""

import ast
import builtins
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from learned.exporting.module_sources import (
    Place,
    defined,
    followed,
    source,
    stored,
)

_NAMESPACES = "opt_gym.maths.array_namespace"
OF_TORCH = {
    Place(_NAMESPACES, name) for name in ("is_torch", "is_eager", "is_readable")
}
"""Questions whose answer in JAX is no."""

NAMESPACE = Place(_NAMESPACES, "namespace")
BUILD = Place("opt_gym.plugins", "build")
CHECKS = "opt_gym.checks"
BUILT = "built"
"""What `plugins.build` is called in the text; whoever writes the rest of it defines it."""


class Amalgam(NamedTuple):
    """Texts of definitions, each behind those it needs; their imports; names of the roots."""

    imports: list[str]
    definitions: list[str]
    names: dict[Place, str]


def amalgamate(roots: Sequence[Place], reserved: Sequence[str] = ()) -> Amalgam:
    """All that `roots` need of this package, and they themselves.

    Args:
        roots: functions, classes or values at the top of their modules.
        reserved: names that nothing in the text may have.

    Raises:
        ValueError: code of a kind that this cannot take apart.
    """
    long: set[Place] = set()
    while True:
        writer = _Writer(long, {*reserved, BUILT, "jnp", *dir(builtins)})
        for root in roots:
            writer.need(followed(root))
        if writer.hidden <= long:
            names = {root: writer.names[followed(root)] for root in roots}
            return Amalgam(sorted(writer.imports), writer.texts, names)
        long |= writer.hidden


class _Writer:
    """Definitions in the order of their texts, as they are needed."""

    def __init__(self, long: set[Place], taken: set[str]) -> None:
        self._long, self._taken = long, taken
        self.names: dict[Place, str] = {}
        self.imports: set[str] = set()
        self.texts: list[str] = []
        self.hidden: set[Place] = set()
        self._written: set[int] = set()

    def need(self, place: Place) -> str:
        """The name of what is at a place, whose text is written."""
        if place not in self.names:
            definitions = source(place.module).definitions
            if place.name not in definitions:
                raise ValueError(f"{place.module} defines no {place.name!r}")
            statement = definitions[place.name]
            together = [Place(place.module, name) for name in defined(statement)]
            for one in together:
                self.names[one] = self._new_name(one)
            if id(statement) not in self._written:
                self._written.add(id(statement))
                self.texts.append(self._text(place.module, statement))
        return self.names[place]

    def need_import(self, line: str) -> None:
        """One of another package."""
        self.imports.add(line)

    def _new_name(self, place: Place) -> str:
        name, last = place.name, place.module.rpartition(".")[2]
        if place in self._long or name in self._taken:
            name = f"{last}_{name.lstrip('_')}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _text(self, module: str, statement: ast.stmt) -> str:
        copy = ast.parse(ast.unparse(statement)).body[0]
        written = _Rewriting(self, module).visit(copy)
        return ast.unparse(ast.fix_missing_locations(written))


class _Rewriting(ast.NodeTransformer):
    """Of one definition at the top of a module."""

    def __init__(self, writer: _Writer, module: str) -> None:
        self._writer, self._module = writer, module
        self._scopes: list[set[str]] = []

    # What names mean.

    def _place(self, node: ast.AST) -> Place | None:
        """What of this package an expression names."""
        if isinstance(node, ast.Name) and not self._is_local(node.id):
            known = source(self._module)
            if node.id in known.imported:
                place = known.imported[node.id]
                return followed(place) if place.name else place
            if node.id in known.definitions:
                return Place(self._module, node.id)
        if isinstance(node, ast.Attribute):
            of = self._place(node.value)
            if of is not None and not of.name:
                return followed(Place(of.module, node.attr))
        return None

    def _is_local(self, name: str) -> bool:
        return any(name in scope for scope in self._scopes)

    def _named(self, place: Place) -> ast.expr:
        if not place.name:
            raise ValueError(
                f"{self._module} uses the module {place.module} as a value"
            )
        name = self._writer.need(place)
        if self._is_local(name):  # another thing of that name is nearer
            self._writer.hidden.add(place)
        return ast.Name(name, ast.Load())

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if not self._scopes and not isinstance(node.ctx, ast.Load):
            place = Place(self._module, node.id)
            return ast.Name(self._writer.names[place], node.ctx)
        place = self._place(node)
        if place is not None:
            return self._named(place)
        if not self._is_local(node.id):
            line = source(self._module).foreign.get(node.id)
            if line is not None:
                self._writer.need_import(line)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        place = self._place(node)
        if place is not None:
            return self._named(place)
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        place = self._place(node.func)
        if place in OF_TORCH:
            return ast.Constant(False)
        if place == NAMESPACE:
            self._writer.need_import("import jax.numpy as jnp")
            return ast.Name("jnp", ast.Load())
        if place == BUILD:
            node.func = ast.Name(BUILT, ast.Load())
            node.args = [self.visit(arg) for arg in node.args]
            return node
        self.generic_visit(node)
        return node

    # Scopes.

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        self._arguments(node.args)
        node.returns = None
        if not self._scopes:
            node.name = self._writer.names[Place(self._module, node.name)]
        bound = {name for one in node.body for name in stored(one)}
        self._scopes.append(bound | set(_argument_names(node.args)))
        node.body = self._block(node.body)
        self._scopes.pop()
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self._arguments(node.args)
        self._scopes.append(set(_argument_names(node.args)))
        node.body = self.visit(node.body)
        self._scopes.pop()
        return node

    def _arguments(self, arguments: ast.arguments) -> None:
        for argument in ast.walk(arguments):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        arguments.defaults = [self.visit(one) for one in arguments.defaults]
        arguments.kw_defaults = [
            None if one is None else self.visit(one) for one in arguments.kw_defaults
        ]

    def _comprehension(self, node: Any) -> ast.AST:
        first, *_ = node.generators
        first.iter = self.visit(first.iter)  # outside of it
        targets = {name for one in node.generators for name in stored(one.target)}
        self._scopes.append(targets)
        for i, one in enumerate(node.generators):
            one.iter = one.iter if i == 0 else self.visit(one.iter)
            one.ifs = [self.visit(test) for test in one.ifs]
        for field in ("elt", "key", "value"):
            if hasattr(node, field):
                setattr(node, field, self.visit(getattr(node, field)))
        self._scopes.pop()
        return node

    visit_ListComp = _comprehension  # noqa: N815 — ast's names
    visit_SetComp = _comprehension  # noqa: N815
    visit_DictComp = _comprehension  # noqa: N815
    visit_GeneratorExp = _comprehension  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if not self._scopes:
            node.name = self._writer.names[Place(self._module, node.name)]
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        node.bases = [self.visit(one) for one in node.bases]
        body = []
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):
                self._writer.need_import("from typing import Any")
                statement.annotation = ast.Name("Any", ast.Load())
                if statement.value is not None:
                    statement.value = self.visit(statement.value)
            elif isinstance(statement, ast.FunctionDef):
                if statement.name.startswith("__"):  # how records are copied
                    continue
                self._scopes.append(set())
                statement = self.visit(statement)
                self._scopes.pop()
            elif not isinstance(statement, ast.Expr):
                continue
            body.append(statement)
        node.body = body
        return node

    # What goes.

    def _block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for statement in body:
            written = self.visit(statement)
            found += written if isinstance(written, list) else [written] * bool(written)
        return found or [ast.Pass()]

    def visit_If(self, node: ast.If) -> Any:
        if isinstance(node.body[0], ast.Raise) and not node.orelse:
            return None
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            kept = node.body if test.value else node.orelse
            return self._block(kept) if kept else None
        node.test, node.body = test, self._block(node.body)
        node.orelse = self._block(node.orelse) if node.orelse else []
        return node

    def visit_For(self, node: ast.For) -> Any:
        node.iter, node.target = self.visit(node.iter), self.visit(node.target)
        node.body = self._block(node.body)
        return None if isinstance(node.body[0], ast.Pass) else node

    def visit_With(self, node: ast.With) -> Any:
        node.items = [self.visit(item) for item in node.items]
        node.body = self._block(node.body)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            return self.visit(node.body if test.value else node.orelse)
        node.test = test
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        decides = isinstance(node.op, ast.Or)
        values = []
        for value in map(self.visit, node.values):  # no further than it has to
            known = value.value if isinstance(value, ast.Constant) else None
            if known is decides:
                return value
            if known is not (not decides):
                values.append(value)
        if not values:
            return ast.Constant(not decides)
        node.values = values
        return node if len(values) > 1 else values[0]

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        node.operand = self.visit(node.operand)
        is_known = isinstance(node.operand, ast.Constant)
        if isinstance(node.op, ast.Not) and is_known:
            return ast.Constant(not node.operand.value)  # type: ignore[attr-defined]
        return node

    def visit_Expr(self, node: ast.Expr) -> Any:
        if isinstance(node.value, ast.Call):
            place = self._place(node.value.func)
            if place is not None and place.module == CHECKS:
                return None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return None
        assign = ast.Assign([node.target], node.value)
        return self.generic_visit(assign)


def _argument_names(arguments: ast.arguments) -> Iterator[str]:
    return (node.arg for node in ast.walk(arguments) if isinstance(node, ast.arg))
