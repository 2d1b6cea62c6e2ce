"""Damage files of every kind that is read, and read each in a process with limits."""

import bz2
import io
import random
import re
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path

from deepfreak.errors import DeepFreakError, ReadingStoppedError
from deepfreak.isolation import LimitedProcess, Limits

MAX_DURATION_S = 10.0
MAX_BYTES = 1 << 30
LIMITS = Limits(cpu_s=5.0, memory_bytes=768 << 20)
_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31)
_NUMBERS += (2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_TEXTS = (
    b"0",
    b"-1",
    b"1e999",
    b"nan",
    b"inf",
    b"-0",
    b"9" * 40,
    b"9" * 5000,
    b"1" * 300 + b".",
    b"",
)
_TEXTS += (b"2147483648", b"65536", b"0x10", b"1e-320", b"\xff", b"%s", b"../x", b"[" * 3000, b"{}")
_HEAD = 4096  # bytes at the beginning and end of a file, where most of its headers are


def damaged(data, rng):
    """Return `data` with numbers and texts changed, bytes flipped, taken out, put in or cut off."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        where = rng.random()
        if where < 0.6:
            at = rng.randrange(min(_HEAD, len(data)) or 1)
        elif where < 0.75:
            at = max(len(data) - 1 - rng.randrange(_HEAD), 0)
        else:
            at = rng.randrange(len(data) or 1)
        match rng.choice(
            ["flip", "flip", "number", "number", "text", "text", "cut", "drop", "twice"]
        ):
            case "flip":
                data[at : at + 1] = bytes([rng.randrange(256)])
            case "number":
                size = rng.choice([1, 2, 4, 8])
                value = rng.choice(_NUMBERS) % (1 << (8 * size))
                data[at : at + size] = value.to_bytes(size, rng.choice(["big", "little"]))
            case "text":
                found = re.compile(rb"[-+.\w]+").search(data, at, at + 200)
                start, end = found.span() if found else (at, at)
                data[start:end] = rng.choice(_TEXTS)
            case "cut" if rng.random() < 0.3:
                del data[at:]
            case "drop":
                del data[at : at + rng.randint(1, 40)]
            case "twice":
                data[at:at] = data[at : at + rng.randint(1, 200)]
    return bytes(data)


def damaged_file(path, rng):
    """Return the name and content of a damaged copy; mostly of what is inside an archive."""
    data = path.read_bytes()
    if path.suffix == ".bz2" and rng.random() < 0.9:
        return path.stem, damaged(bz2.decompress(data), rng)
    if zipfile.is_zipfile(path) and rng.random() < 0.9:
        return path.name, _damaged_member(data, rng)
    return path.name, damaged(data, rng)


def _damaged_member(data, rng):
    whole, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    chosen = rng.choice(whole.namelist())
    with zipfile.ZipFile(out, "w") as copy:
        for name in whole.namelist():
            content = whole.read(name)
            copy.writestr(name, damaged(content, rng) if name == chosen else content)
    return out.getvalue()


# These run in the process.


def outcome(read, path, arguments):
    """Return "read", or "refused" and the line, or "fault" and a traceback; seconds and bytes."""
    start = time.perf_counter()
    try:
        read(Path(path), *arguments)
        what = ("read", "")
    except MemoryError:
        raise
    except DeepFreakError as error:
        what = ("refused", str(error))
    except Exception:  # noqa: BLE001 - that is what is looked for
        what = ("fault", traceback.format_exc())
    most = _most_bytes()
    return (*what, time.perf_counter() - start, most)


def _most_bytes():
    """Return the most memory that this process has had; `ru_maxrss` counts its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def frame(path):
    """Read a file of frames as a worker does: the first and last frame, prepared."""
    from deepfreak.formats import open_frames
    from deepfreak.preparation import prepare

    with open_frames(path) as file:
        for index in {0, file.count - 1}:
            prepare(file.read(index))


def geometry(path, image):
    """Read a geometry and an image with it."""
    from deepfreak.formats import open_frames, read_geometry

    layout = read_geometry(path)
    with open_frames(image, geometry=layout) as file:
        file.read(0)


def model(path):
    """Load a model."""
    from deepfreak.models import load_model

    load_model(path)


def network(path):
    """Load the weights of a network."""
    from deepfreak.networks.checkpoint import load_network

    load_network(path)


def coordinates(path):
    """Read a coordinate file as far as the checks go."""
    from deepfreak.physics.structure_factors.model import read_coordinates

    read_coordinates(path)


def reflections(path):
    """Read a list of reflections."""
    from deepfreak.physics.structure_factors.reflections import from_mtz

    from_mtz(path)


def recipe(path):
    """Load a recipe."""
    from deepfreak.physics.recipe import load_recipe

    load_recipe(path)


class Fuzzer:
    """Damages copies of a file and counts the results.

    Attributes
    ----------
    counts
        How many were read, refused, or stopped by a limit.
    faults
        What must not be: the number of the copy and what happened.
    """

    def __init__(self, folder):
        self.folder = folder
        self.process = LimitedProcess(modules=["tests.fuzzing", "deepfreak.formats.guarded"])
        self.counts, self.faults, self.stopped = Counter(), [], []
        self.longest_s, self.most_bytes = 0.0, 0

    def run(self, path, read, *arguments, copies, stops_allowed=False):
        """Read a number of damaged copies of the file `path`."""
        rng = random.Random(path.name)  # noqa: S311
        patient = Limits(cpu_s=60, wall_s=90)  # libraries are imported
        what, *said = self.process.call(outcome, read, str(path), arguments, limits=patient)
        assert what == "read", said
        for number in range(copies):
            name, content = damaged_file(path, rng)
            copy = self.folder / f"{number:05d}" / name
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(content)
            if self._one(copy, f"{path.name} {number}", read, arguments, stops_allowed):
                copy.unlink()
                copy.parent.rmdir()

    def _one(self, copy, label, read, arguments, stops_allowed):
        """Return whether the result for a copy is allowed."""
        try:
            what, said, seconds, most = self.process.call(
                outcome, read, str(copy), arguments, limits=LIMITS
            )
        except ReadingStoppedError as error:
            self.counts["stopped"] += 1
            self.stopped.append((label, str(error)))
            if not stops_allowed:
                self.faults.append((label, str(error)))
            return False
        self.counts[what] += 1
        self.longest_s = max(self.longest_s, seconds)
        self.most_bytes = max(self.most_bytes, most)
        good = what != "fault" and "\n" not in said and said.isprintable() and len(said) < 3000
        if not good:
            self.faults.append((label, said))
        return good
