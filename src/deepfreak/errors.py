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


class DeepFreakError(Exception):
    """Base of all errors that deepfreak raises on purpose."""

    exit_code = 1


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
