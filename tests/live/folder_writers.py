"""Programs that write detector files badly, each run in its own process.

``python -m tests.live.folder_writers NAME ARGUMENT...``; a writer that goes on step by step takes
one for each line on its standard input, and says `ready` on its standard output when it is done.
"""

import bz2
import os
import random
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np

from tests.unit.formats import made

SHAPE = (64, 64)


def counts(number, *, shape=SHAPE):
    """Return an image from which `number_of` reads a number."""
    image = made.photons(shape, seed=number % 7)
    image[0, 0], image[0, 1] = number % 1000, number // 1000
    return image


def number_of(frame):
    """Return the number that `counts` wrote into a frame."""
    return int(frame.counts[0, 0]) + 1000 * int(frame.counts[0, 1])


def tiff(image):
    """Return the bytes of a TIFF."""
    rows, columns = image.shape
    tags = [(256, columns), (257, rows), (258, 16), (259, 1), (262, 1), (273, 512), (277, 1)]
    tags += [(278, rows), (279, 2 * rows * columns)]
    head = bytearray(b"II*\0\x08\0\0\0" + len(tags).to_bytes(2, "little"))
    for tag, value in tags:
        head += tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
    return bytes(head).ljust(512, b"\0") + image.astype("<u2").tobytes()


def content(number):
    """Return the suffix and the bytes of a file with the image of a number."""
    image = counts(number)
    kind = number % 4
    if kind == 0:
        from fabio.compression import compByteOffset

        return ".cbf", made.cbf(image, data=bytes(compByteOffset(image)))
    if kind == 1:
        return ".img", made.smv(image)
    if kind == 2:
        return ".tif", tiff(image)
    return ".img.bz2", bz2.compress(made.smv(image))


def in_any_way(path, data, rng):
    """Write a file whole, in pieces, or under a name that is not its last one."""
    way = rng.randrange(4)
    if way == 0:
        path.write_bytes(data)
    elif way == 1:
        place = rng.randrange(len(data))
        with path.open("wb") as file:
            file.write(data[:place])
            file.flush()
            time.sleep(0.02)
            file.write(data[place:])
    else:
        hidden = path.with_name(f".{path.name}" if way == 2 else f"{path.name}.tmp")
        hidden.write_bytes(data)
        hidden.rename(path)


def small_files(folder, first, count, threads):
    """Write many small files in any order, each in any way."""
    numbers = list(range(int(first), int(first) + int(count)))
    random.Random(int(first)).shuffle(numbers)  # noqa: S311
    rows = int(threads)

    def write(mine, seed):
        rng = random.Random(seed)  # noqa: S311
        for number in mine:
            suffix, data = content(number)
            below = Path(folder, f"run{number % 3}")
            below.mkdir(exist_ok=True)
            in_any_way(below / f"a{number:06d}{suffix}", data, rng)

    writers = [threading.Thread(target=write, args=(numbers[i::rows], i)) for i in range(rows)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def steps():
    """Wait for the next line of the standard input, for each."""
    print("ready", flush=True)  # noqa: T201 - to who runs it
    for line in sys.stdin:
        yield line.strip()
        print("ready", flush=True)  # noqa: T201 - to who runs it


def swmr(path, shape="64x64"):
    """Write an HDF5 file for readers to follow; each step tells how many frames to add."""
    rows, columns = map(int, shape.split("x"))
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(
            "entry/data/data",
            shape=(0, rows, columns),
            maxshape=(None, rows, columns),
            chunks=(1, rows, columns),
            dtype=np.uint16,
        )
        file.swmr_mode = True
        for step in steps():
            for _ in range(int(step)):
                number = len(data)
                data.resize(number + 1, axis=0)
                data[number] = counts(number, shape=(rows, columns))
                data.flush()


def locked(path):
    """Write an HDF5 file that is locked until it is closed."""
    with h5py.File(path, "w") as file:
        for number, _ in enumerate(steps()):
            file[f"entry/data/data_{number + 1:06d}"] = counts(number)[None]
            file.flush()


def unlocked(path, frames):
    """Write an HDF5 file with space for frames, without a lock or any sign that it is open."""
    os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
    with h5py.File(path, "w", locking=False) as file:
        data = file.create_dataset(
            "entry/data/data", (int(frames), *SHAPE), np.uint16, chunks=(1, *SHAPE)
        )
        file.flush()
        for number, _ in enumerate(steps()):
            data[number] = counts(number)
            file.flush()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
