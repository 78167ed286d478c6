"""Formulas as MathML, which browsers draw themselves: no script, no fonts and no network, now or when they are read.

docutils, on which Sphinx stands, turns LaTeX into MathML. What it does not know is an error with the macro's name.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)


def mathml(node, *, as_block):
    """The formula of a node; a warning, which fails the build, and the LaTeX itself where it cannot be read."""
    latex = node.astext()
    if as_block and r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{align*}}{latex}\end{{align*}}"
    try:
        # bars of a norm are as high as the line, not as the highest fraction in it
        return re.sub(r"<mo( class=\"mathopen\")?>‖", r'<mo\1 stretchy="false">‖', tex2mathml(latex, as_block=as_block))
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{latex}</code>"


def visit_inline(self, node):
    self.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math-block"))
    self.body.append(mathml(node, as_block=True))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
