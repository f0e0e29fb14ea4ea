"""Sphinx: `make docs` builds the site into build/docs. It needs no network, nor does the site."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

project = "boundaryloss"
author = "The boundaryloss developers"
copyright = author
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
html_theme = "furo"
html_title = "boundaryloss"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
default_role = "literal"  # `name` in a docstring
html_math_renderer = "mathml"
smartquotes = False  # or `--out` in a help text becomes a dash
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the signatures have them
autodoc_member_order = "bysource"
napoleon_use_rtype = False
suppress_warnings = ["myst.header"]


def write_math(writer: Any, node: nodes.Element) -> None:
    """Formulas as MathML, which browsers draw by themselves."""
    block = isinstance(node, nodes.math_block)
    writer.body.append(convert(node.astext(), display="block" if block else "inline"))
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Take over the formulas."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(write_math, None), block_renderers=(write_math, None)
    )
