"""Formulas as MathML, which browsers draw by themselves: no script and no network."""

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def _written(self: Any, node: nodes.Element, as_block: bool) -> None:
    self.body.append(tex2mathml(node.astext(), as_block=as_block))
    raise nodes.SkipNode


def visit_inline(self: Any, node: nodes.Element) -> None:
    """A formula in a line."""
    _written(self, node, as_block=False)


def visit_block(self: Any, node: nodes.Element) -> None:
    """A formula on its own."""
    _written(self, node, as_block=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the renderer "mathml"."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
