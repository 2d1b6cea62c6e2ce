"""What each of our files says of itself: its format, the format's version, and its settings."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from deepfreak.errors import DeepFreakError, InputError


class Format(NamedTuple):
    """Name and version of a file format; the version grows when older files cannot be read."""

    name: str
    version: int

    def manifest(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401 -- JSON values
        """Return the manifest of a file of this format, with `more` in it."""
        return {"format": self.name, "format_version": self.version, **more}

    def check(
        self,
        manifest: object,
        where: object,
        *,
        advice: str = "make it again",
        error: type[DeepFreakError] = InputError,
    ) -> dict[str, Any]:
        """Return the manifest of the file `where` if it is of this format and version.

        Raises
        ------
        DeepFreakError
            Of the class `error`, with `advice`: it is not.
        """
        if not isinstance(manifest, dict) or manifest.get("format") != self.name:
            raise error(f"{where}: expected a {self.name}, found something else; {advice}")
        found = manifest.get("format_version")
        if found != self.version:
            raise error(
                f"{where}: expected version {self.version} of the format {self.name}, found "
                f"version {found}; {advice}"
            )
        return manifest


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in a few words how two sets of settings differ: "its seed is 3, not 4"."""
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    for name in names:
        there, here = found.get(name), wanted.get(name)
        if not isinstance(there, dict | list) and not isinstance(here, dict | list):
            return f"its {name} is {there!s:.60}, not {here!s:.60}"
    return f"its {names[0]} differs" if names else "its settings differ"
