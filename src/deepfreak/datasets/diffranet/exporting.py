"""HDF5 files to the published DiffraNet's folders, as PGM."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from deepfreak.datasets import Dataset
from deepfreak.datasets.diffranet.importing import VARIANTS
from deepfreak.datasets.diffranet.labelled import SPLITS
from deepfreak.encoding import SIZE
from deepfreak.errors import DatasetError, OutputError


def export_diffranet(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    start: Callable[[int], Callable[[int], None]] | None = None,
) -> dict[str, int]:
    """Write the images of `files` as `out`/VARIANT/SPLIT/CLASS/INDEX.pgm and return their numbers.

    A file with five classes is the variant `synthetic`; one with two is the one that its manifest
    names, or `real_raw`. Its splits become folders; without splits all images go into `train`.
    Importing the folder gives the images back in order of split, class and index: an imported file
    as it was.

    Parameters
    ----------
    out
        A folder that is not there yet, or empty.
    start
        As in `import_diffranet`.

    Raises
    ------
    DatasetError
        A file that cannot be read as a data set, other classes or sizes than DiffraNet has, splits
        that overlap, leave images out or have other names, or two files of one variant.
    OutputError
        `out` is there already and not empty, or cannot be written; nothing is left of it.
    """
    out = Path(out)
    plans: dict[str, tuple[Path, dict[str, tuple[int, int]]]] = {}
    total = 0
    for file in map(Path, files):
        with Dataset.open(file) as data:
            variant = _variant(data)
            if variant in plans:
                raise DatasetError(
                    f"{plans[variant][0]} and {file} are both {variant}; export them to two folders"
                )
            plans[variant] = (file, _splits(data))
            total += len(data)
    advance = start(total) if start else lambda _: None
    with _whole_folder(out) as folder:
        for variant, (file, splits) in plans.items():
            with Dataset.open(file) as data:
                _write_variant(data, splits, folder / variant, advance)
    return {variant: sum(n for _, n in splits.values()) for variant, (_, splits) in plans.items()}


def _variant(data: Dataset) -> str:
    named = data.manifest.get("variant")
    if named is None or named not in VARIANTS:
        named = "real_raw" if len(data.classes) == 2 else "synthetic"
    if data.classes != VARIANTS[named]:
        raise DatasetError(
            f"{data.path}: expected the classes {', '.join(VARIANTS[named])}, "
            f"found {', '.join(data.classes)}; DiffraNet's folders have no place for them"
        )
    if data.images.shape[1:] != (SIZE, SIZE):
        slow, fast = data.images.shape[1:]
        raise DatasetError(
            f"{data.path}: expected images of {SIZE} x {SIZE} pixels, found {slow} x {fast}"
        )
    return named


def _splits(data: Dataset) -> dict[str, tuple[int, int]]:
    """Return (first, count) of each split; all images are in `train` where the file has none."""
    if not data.splits:
        return {"train": (0, len(data))}
    unknown = sorted(set(data.splits) - set(SPLITS))
    if unknown:
        raise DatasetError(
            f"{data.path}: expected the splits {', '.join(SPLITS)}, found {unknown[0]!r}"
        )
    end = 0
    for first, length in sorted(data.splits.values()):
        if first != end:
            raise DatasetError(f"{data.path}: splits overlap or leave images out at image {end}")
        end = first + length
    if end != len(data):
        raise DatasetError(f"{data.path}: expected splits of {len(data)} images, found {end}")
    return data.splits


def _write_variant(
    data: Dataset,
    splits: dict[str, tuple[int, int]],
    folder: Path,
    advance: Callable[[int], None],
) -> None:
    digits = len(str(max(len(data) - 1, 0)))
    for split, (first, length) in splits.items():
        for label in np.unique(data.labels[first : first + length]):
            (folder / split / str(label + 1)).mkdir(parents=True)
        for index in range(first, first + length):
            file = folder / split / str(data.labels[index] + 1) / f"{index:0{digits}d}.pgm"
            file.write_bytes(b"P5\n%d %d\n255\n" % (SIZE, SIZE) + data.images[index].tobytes())
            advance(1)


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder beside `path`; rename it when the block ends well, else remove it."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} exists already and is not empty; choose another folder")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
