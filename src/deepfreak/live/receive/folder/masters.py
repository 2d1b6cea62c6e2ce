"""Which HDF5 files are read through a master file that links to them."""


class MasterFiles:
    """The links that were found; paths are those without symbolic links."""

    def __init__(self) -> None:
        self._master_of: dict[str, str] = {}

    def claim(self, real: str, links: frozenset[str]) -> None:
        """Note that the file `real` is the master of `links`."""
        for link in links:
            self._master_of.setdefault(link, real)

    def release(self, real: str) -> list[str]:
        """Forget the master `real`, which has gone; return what it linked to."""
        freed = [link for link, master in self._master_of.items() if master == real]
        for link in freed:
            del self._master_of[link]
        return freed

    def master_of(self, real: str) -> str | None:
        """Return the master of the file `real`, None without."""
        return self._master_of.get(real)
