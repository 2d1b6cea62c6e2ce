"""Everything deepfreak raises on purpose.

::

    DeepFreakError
    ├── InputError              what the user gave cannot be used
    │   ├── RecipeError         a recipe or a setting in it
    │   ├── StructureError      coordinates, reflections or a unit cell
    │   ├── FrameError          a detector image file
    │   │   └── ReadingStoppedError  one that takes too long, too much memory, or crashes its reader
    │   ├── GeometryError       a geometry or mask file
    │   ├── DatasetError        a file of labelled images
    │   └── ModelError          a saved classifier
    ├── OutputError             a result cannot be written (exists already, disk full)
    ├── FetchError              a download failed
    └── BackendError            a GPU, or what it needs, is missing

Each message is one line: what was expected, what was found, what to do. The command line prints
it and exits with the class's `exit_code`.
"""

MAX_CHARACTERS = 2000


class DeepFreakError(Exception):
    """Base of all errors that deepfreak raises on purpose.

    Its text is one printable line of bounded length, whatever a file or a library has put into it.
    """

    exit_code = 1

    def __str__(self) -> str:
        """Return the message."""
        lines = super().__str__()[: 2 * MAX_CHARACTERS].splitlines()
        line = " ".join(part.strip() for part in lines) if len(lines) > 1 else "".join(lines)
        whole = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        return whole if len(whole) <= MAX_CHARACTERS else f"{whole[:MAX_CHARACTERS]}..."


class InputError(DeepFreakError):
    """What the user gave cannot be used."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe, or a setting in it, is wrong."""


class StructureError(InputError):
    """Coordinates, reflections or a unit cell cannot be used."""


class FrameError(InputError):
    """A detector image file cannot be read."""


class ReadingStoppedError(FrameError):
    """Reading a file was stopped: it took too long or too much memory, or crashed its reader."""


class GeometryError(InputError):
    """A geometry or mask file cannot be used."""


class DatasetError(InputError):
    """A file of labelled images cannot be used."""


class ModelError(InputError):
    """A saved classifier cannot be used."""


class OutputError(DeepFreakError):
    """A result cannot be written."""


class FetchError(DeepFreakError):
    """A download failed."""


class BackendError(DeepFreakError):
    """A GPU, or what it needs, is missing."""


class FrameWarning(UserWarning):
    """A frame was read, but not all that its file says could be used."""
