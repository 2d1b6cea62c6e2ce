"""The exceptions that DeepFreak raises deliberately.

::

    DeepFreakError
    ├── InputError              the user's input cannot be used
    │   ├── RecipeError         a recipe or a setting in it
    │   ├── StructureError      coordinates, reflections or a unit cell
    │   ├── FrameError          a detector image file
    │   │   └── ReadingStoppedError  reading it exceeded a limit or crashed
    │   ├── GeometryError       a geometry or mask file
    │   ├── DatasetError        a file of labelled images
    │   └── ModelError          a saved classifier
    ├── OutputError             a result cannot be written (exists already, disk full)
    ├── FetchError              a download failed
    └── BackendError            a GPU, or software for it, is missing

Each message is one line: what was expected, what was found, what to do. The command line prints
it and exits with the class's `exit_code`.
"""

MAX_CHARACTERS = 2000


class DeepFreakError(Exception):
    """Base of all errors that DeepFreak raises deliberately.

    Its message is one printable line of bounded length, even with text from a file or a library.
    """

    exit_code = 1

    def __str__(self) -> str:
        """Return the message."""
        lines = super().__str__()[: 2 * MAX_CHARACTERS].splitlines()
        line = " ".join(part.strip() for part in lines) if len(lines) > 1 else "".join(lines)
        whole = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        return whole if len(whole) <= MAX_CHARACTERS else f"{whole[:MAX_CHARACTERS]}..."


class InputError(DeepFreakError):
    """The user's input cannot be used."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe, or a setting in it, is wrong."""


class StructureError(InputError):
    """Coordinates, reflections or a unit cell cannot be used."""


class FrameError(InputError):
    """A detector image file cannot be read."""


class ReadingStoppedError(FrameError):
    """Reading a file exceeded a limit of time or memory, or crashed."""


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
    """A GPU, or software for it, is missing."""


class FrameWarning(UserWarning):
    """A frame was read, but some of its file's content could not be used."""
