"""The site: ``sphinx-build -W --keep-going -n -b html docs SITE``, without network.

Building it runs the notebooks, which are kept without outputs.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import pydoc
import re
import sys
from fnmatch import fnmatch
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

import myst_nb.core.render
import plotly.graph_objects as go
import plotly.offline
from docutils.nodes import Element, Node, raw
from plotly.utils import PlotlyJSONEncoder
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import i2moe_plugin

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
from public_names import public_names  # noqa: E402

project = "i2moe-plugin"
author = "The i2moe-plugin developers"
project_copyright = f"2026, {author}"
version = release = i2moe_plugin.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
exclude_patterns = ["speed/*.md"]  # what `i2moe-bench speed` writes, linked as a file
html_theme = "furo"
html_title = f"i2moe-plugin {version}"
html_copy_source = False
html_static_path = ["_static"]
myst_heading_anchors = 3
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
nitpicky = True
# What others define has its page elsewhere; what is ours must be found.
nitpick_ignore_regex = [("py:.*", r"(?!i2moe_plugin\b).*"), ("py:class", r".*\.\w+T")]
PLOTLY = "application/vnd.plotly.v1+json"
#: Files at the top level that are pages here.
ROOT_PAGES = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "NOTICES.md": "notices",
    "SECURITY.md": "security",
    "CODE_OF_CONDUCT.md": "code_of_conduct",
}


class PublicNames(SphinxDirective):
    """``public-names:: PAGE`` documents a page of :func:`public_names.public_names`."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """One section for each module that defines some of the names."""
        lines = []
        for home, names in sorted(public_names()[self.arguments[0]].items()):
            title = home.removeprefix("i2moe_plugin.")
            about = inspect.getdoc(importlib.import_module(home)) or ""
            lines += [title, "-" * len(title), "", about.split("\n\n")[0], ""]
            for name in names:
                thing = pydoc.locate(name)
                lines += [f".. auto{kind(thing)}:: {name}"]
                lines += ["   :members:", "   :show-inheritance:"] * inspect.isclass(thing)
                lines += [""]
        text = "\n".join(lines)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def kind(thing: Any) -> str:
    """How autodoc calls it."""
    if inspect.isclass(thing):
        return "exception" if issubclass(thing, Exception) else "class"
    return "function" if callable(thing) else "data"


def rewrite_links(content: list[str], folder: str) -> None:
    """Turn the links between files of the repository into links between pages.

    Files are written so that their links work where they lie; on the site a file at the top level
    is a page beside the guides.
    """

    def target(found: re.Match[str]) -> str:
        link = normpath(f"{folder}/{found[1]}")
        link = f"docs/{ROOT_PAGES[link]}.md" if link in ROOT_PAGES else link
        inside = relpath(link, "docs")
        file = any(fnmatch(inside, pattern) for pattern in exclude_patterns)
        return f"](path:{inside}" if file else f"]({inside}"

    content[0] = re.sub(r"\]\((?!\w+:|#)([^)#\s]+)", target, content[0])


class PlotlyFigures(myst_nb.core.render.MimeRenderPlugin):
    """Draws the figures of notebooks with the library that the page loads from this site."""

    mime_priority_overrides = (("html", PLOTLY, 0),)

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[Element] | None:
        """Return the figure as HTML; None of other outputs."""
        if data.mime_type != PLOTLY:
            return None
        content = {key: data.content[key] for key in ("data", "layout")}
        figure = json.dumps(go.Figure(content).to_plotly_json(), cls=PlotlyJSONEncoder)
        figure = figure.replace("</", r"<\/")
        place = f"figure-{hashlib.sha256(figure.encode()).hexdigest()[:12]}"
        text = (
            f'<div id="{place}"></div><script>window.addEventListener("load", () => Plotly.newPlot('
            f'"{place}", {figure}, {{responsive: true}}));</script>'
        )
        return [raw(text=text, format="html", classes=["output"])]


def give_plotly(app: Sphinx, page: str, template: str, context: Any, tree: Any) -> None:
    """Let the pages of notebooks load plotly's library and a style, which the site holds."""
    if page.startswith("notebooks/"):
        app.add_js_file("plotly.min.js")
        app.add_css_file("notebooks.css")


def write_plotly(app: Sphinx) -> None:
    """Put plotly's library into the site."""
    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plotly.min.js").write_text(plotly.offline.get_plotlyjs(), encoding="utf-8")


def protect_symbols(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Keep "num_outputs: C." from becoming item C of a list, and |a - b| from being replaced."""
    lines[:] = [re.sub(r"(: )(?=[A-Z]\.$)", r"\1\\", line) for line in lines]
    lines[:] = [line if "`" in line else line.replace("|", r"\|") for line in lines]


def leave_unlinked(app: Sphinx, env: Any, node: Element, text: Node) -> Node | None:
    """A reference to something of ours that exists and is not public stays plain text."""
    target = node.get("reftarget", "")
    return text if target.startswith("i2moe_plugin.") and pydoc.locate(target) else None


def skip_tuple_fields(
    app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """Fields of a named tuple are in its docstring; Python's own text for them says nothing."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect what is above."""
    app.add_directive("public-names", PublicNames)
    # It would otherwise look for renderers among installed packages.
    myst_nb.core.render.load_mime_renders = lambda: [PlotlyFigures]
    app.connect("builder-inited", write_plotly)
    app.connect("html-page-context", give_plotly)
    app.connect("include-read", lambda app, path, page, content: rewrite_links(content, "."))
    app.connect("source-read", lambda app, page, content: rewrite_links(content, "docs"))
    app.connect("autodoc-process-docstring", protect_symbols, priority=400)  # before napoleon
    app.connect("missing-reference", leave_unlinked)
    app.connect("autodoc-skip-member", skip_tuple_fields)
    return {"parallel_read_safe": True}
