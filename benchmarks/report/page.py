"""One HTML file that needs nothing else: templates, styles, scripts and plotly inlined.

Whatever comes from runs and data sets is text: jinja2 escapes it in HTML, :func:`as_json` in the
data, and the scripts put it on the page as text only. A content security policy lets no script run
but the ones named by their hash, and nothing be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from i2moe_plugin.benchmarks.run.files import json_ready

PACKAGE = "i2moe_plugin.benchmarks.report"
SCRIPTS = ("base.js", "explorer.js", "figures.js")


def render(content: dict[str, Any], data: dict[str, Any]) -> str:
    """Render the page: what the template lays out, and the data that the scripts read."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # plotly after what can do without: tables and samples are there before figures.
    *first, last = [_asset(name) for name in SCRIPTS]
    plotly = resources.files("plotly").joinpath("package_data/plotly.min.js")
    texts = (*first, plotly.read_text(encoding="utf-8"), last)
    # A script's own strings cannot end it.
    scripts = [text.replace("</script", "<\\/script").replace("<!--", "<\\!--") for text in texts]
    return environment.get_template("page.html.j2").render(
        **content,
        policy=_policy(scripts),
        style=Markup(_asset("page.css")),
        scripts=[Markup(script) for script in scripts],
        data={name: Markup(as_json(value)) for name, value in data.items()},
    )


def as_json(value: Any) -> str:
    """Return JSON that is safe inside a script element: no character that could end or open one.

    >>> as_json("</script>&")
    '"\\\\u003c/script\\\\u003e\\\\u0026"'
    """
    text = json.dumps(json_ready(value), allow_nan=False, separators=(",", ":"))  # ASCII only
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(scripts: list[str]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    # plotly sets styles as it draws, and makes pictures of what it drew.
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return resources.files(PACKAGE).joinpath(name).read_text(encoding="utf-8")
