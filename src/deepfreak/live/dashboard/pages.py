"""The page, its parts, and the page that lists the operations; every one a file of this package."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Asked for by these names only: no name of a request ever becomes a path.
PARTS = (
    "page.css",
    "docs.css",
    "theme.js",
    "page.js",
    "format.js",
    "charts.js",
    "maps.js",
    "hits.js",
    "panels.js",
    "icon.svg",
)


@cache
def part(name: str) -> tuple[bytes, str]:
    """Return a part of the page and its media type."""
    data = files("deepfreak.live.dashboard").joinpath("static", name).read_bytes()
    return data, _TYPES["." + name.rpartition(".")[2]]


def docs_page(schema: Mapping[str, Any]) -> str:
    """Return a page that lists the operations of an OpenAPI `schema`.

    The usual pages for that load their scripts from elsewhere; at a beamline there is no elsewhere.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("deepfreak.live.dashboard", "static"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    operations = [
        {
            "method": method.upper(),
            "path": path,
            "summary": operation.get("summary", ""),
            "description": operation.get("description", ""),
            "parameters": operation.get("parameters", []),
            "bodies": sorted(operation.get("requestBody", {}).get("content", {})),
            "answers": [
                {"status": status, "description": answer.get("description", "")}
                for status, answer in sorted(operation.get("responses", {}).items())
            ],
        }
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    return environment.get_template("docs.html").render(
        title=schema["info"]["title"], version=schema["info"]["version"], operations=operations
    )
