"""Manifests: the JSON inside every file we write.

"kind" is the name of the file's format, "format" the format's version. Settings, seed, versions and
hashes follow.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from deepfreak.errors import DeepFreakError, InputError

if TYPE_CHECKING:
    import h5py


class Format(NamedTuple):
    """Name and version of a file format; a new version cannot be read by older code."""

    name: str
    version: int

    def manifest(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401 -- JSON values
        """Return the manifest of a file of this format, with `more` in it."""
        return {"kind": self.name, "format": self.version, **more}

    def check(
        self,
        manifest: object,
        where: object,
        *,
        advice: str = "make it again, or use the version of deepfreak that made it",
        error: type[DeepFreakError] = InputError,
    ) -> dict[str, Any]:
        """Return the manifest of `where` if it is of this format and version; or raise `error`."""
        if not isinstance(manifest, dict) or manifest.get("kind") != self.name:
            raise error(f"{where}: expected the format {self.name}, found something else: {advice}")
        found = manifest.get("format")
        if found != self.version:
            raise error(
                f"{where}: expected version {self.version} of the format {self.name}, found "
                f"version {found}: {advice}"
            )
        return manifest

    def of_hdf5(
        self, file: "h5py.File", where: object, *, error: type[DeepFreakError] = InputError
    ) -> dict[str, Any]:
        """Return the manifest of an open HDF5 file; {} if it has none, as other programs' files.

        Raises `error` if it states another format or version, or cannot be read.
        """
        try:
            manifest = json.loads(file.attrs.get("manifest", "{}"))
        except (ValueError, TypeError):
            manifest = None
        if not isinstance(manifest, dict):
            raise error(f"{where}: its attribute `manifest` is not a JSON object")
        self.check({**self.manifest(), **manifest}, where, error=error)
        return manifest


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in a few words how two sets of settings differ: "its seed is 3, not 4"."""
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    for name in names:
        there, here = found.get(name), wanted.get(name)
        if not isinstance(there, dict | list) and not isinstance(here, dict | list):
            return f"its {name} is {there!s:.60}, not {here!s:.60}"
    return f"its {names[0]} differs" if names else "its settings differ"
