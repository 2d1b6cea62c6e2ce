"""One HTML page, complete in itself: no script, no request to anywhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfreak.storage.files import whole_file


def write_page(
    path: Path, template: str, values: Mapping[str, Any], *, overwrite: bool = False
) -> None:
    """Render `template` of this package with `values` to `path`; every value is escaped.

    Raises `OutputError`: the file exists and `overwrite` is false, or it cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("deepfreak.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(values)
    with whole_file(path, overwrite=overwrite) as partial:
        # File names may hold bytes that are no text; they must not cost the page.
        partial.write_text(html, encoding="utf-8", errors="replace")
