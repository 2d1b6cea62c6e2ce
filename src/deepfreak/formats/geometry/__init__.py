"""Geometry files by their kind."""

from pathlib import Path

from deepfreak.errors import GeometryError
from deepfreak.formats.geometry import crystfel, dials, poni
from deepfreak.formats.geometry.geometry import Geometry

_PARSERS = {
    ".geom": crystfel.parse,
    ".expt": dials.parse,
    ".json": dials.parse,
    ".poni": poni.parse,
}
_MAX_FILE_BYTES = 256 << 20


def read_geometry(path: Path) -> Geometry:
    """Return the geometry in a CrystFEL .geom, DIALS .expt or pyFAI .poni file.

    Raises `GeometryError`: the file cannot be read or does not make sense; the message is one line.
    """
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise GeometryError(
            f"expected a CrystFEL .geom, DIALS .expt or pyFAI .poni file, found {path}"
        )
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise GeometryError(f"expected a geometry of less than 256 MB, found more in {path}")
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise GeometryError(f"cannot read {path}: {error.strerror or error}") from error
    return parse(text, str(path))
