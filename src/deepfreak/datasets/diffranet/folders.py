"""The published DiffraNet's folders to HDF5 files, and HDF5 files to such folders.

The layout is `VARIANT/SPLIT/CLASS/PICTURE`, at any depth: variants `synthetic`, `real_raw` and
`real_preprocessed`; splits `train`, `validation` and `test`; class folders numbered from 1, for
synthetic images blank to strong, for real ones no diffraction and diffraction.
"""

import hashlib
import io
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import CLASSES, GROUPS
from deepfreak.datasets import Dataset
from deepfreak.datasets.diffranet.archive import Member, open_archive
from deepfreak.datasets.diffranet.labelled import SPLITS, Contents, write_labelled
from deepfreak.encoding import SIZE
from deepfreak.errors import DatasetError, OutputError
from deepfreak.storage.files import check_output, whole_hdf5

VARIANTS = {"synthetic": CLASSES, "real_raw": GROUPS, "real_preprocessed": GROUPS}
PICTURES = frozenset({".pgm", ".ppm", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"})
FORMATS = ("PNG", "PPM", "JPEG", "TIFF", "BMP", "GIF")
_BYTES_PER_IMAGE = 0.75 * SIZE * SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPicture:
    """A picture of the layout: its split, its class as an index, its file."""

    split: str
    label: int
    member: Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import has written."""

    files: dict[str, Path]  # by variant
    counts: dict[str, dict[str, int]]  # images by variant and split
    left_out: int  # other files than pictures of the layout


def import_diffranet(
    source: str | Path,
    out: str | Path,
    *,
    overwrite: bool = False,
    start: Callable[[int], Callable[[int], None]] | None = None,
) -> Imported:
    """Write one HDF5 file a variant, `out`/VARIANT.h5, from a zip or a folder of the layout.

    Images are in order of split, class number and name. Missing variants, splits and classes are
    allowed; other files than pictures, hidden ones, and those in no variant's folder are left out.

    `out`: a folder; made if its parent is there. `start`: called with the number of images before
    the first; returns what to call with the number of further ones.

    Raises `DatasetError`: not one picture; or, naming the file, one that is not 8-bit gray of 512 x
    512, cannot be read, lies in a folder of another name than a split's or class's, or is also in
    another split or class; `OutputError`: an output exists, or the disk is full. No file is left
    under its name unless all are whole.
    """
    source, out = Path(source), Path(out)
    with open_archive(source) as members, ExitStack() as stack:
        variants, left_out = find_pictures(members)
        if not variants:
            raise DatasetError(
                f"{source}: expected pictures in {{{','.join(VARIANTS)}}}/{{{','.join(SPLITS)}}}/"
                f"1..5/, found none among {left_out} files"
            )
        files = {variant: out / f"{variant}.h5" for variant in variants}
        stack.enter_context(_folder(out))
        for variant, file in files.items():
            needed = int(len(variants[variant]) * _BYTES_PER_IMAGE)
            check_output(file, overwrite=overwrite, expected_bytes=needed)
        opened = {
            variant: stack.enter_context(whole_hdf5(file, overwrite=overwrite))
            for variant, file in files.items()
        }
        advance = start(sum(map(len, variants.values()))) if start else lambda _: None
        counts = {}
        for variant, pictures in variants.items():
            hdf5, check_disk = opened[variant]
            contents = _contents(variant, pictures, source)
            images = _images(pictures, advance)
            write_labelled(hdf5, contents, images, check_disk=check_disk)
            counts[variant] = {name: length for name, (_, length) in contents.splits.items()}
    return Imported(files=files, counts=counts, left_out=left_out)


def find_pictures(members: list[Member]) -> tuple[dict[str, list[LabelledPicture]], int]:
    """Return the pictures by variant, in the order they are stored in, and the number left out."""
    found: dict[str, list[LabelledPicture]] = {}
    roots: dict[PurePosixPath, Member] = {}
    left_out = 0
    for member in members:
        parts = member.path.parts
        depth = next((i for i, part in enumerate(parts[:-1]) if part in VARIANTS), None)
        # __MACOSX holds a hidden twin of each file that a Mac packed
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if depth is None or hidden or member.path.suffix.lower() not in PICTURES:
            left_out += 1
            continue
        variant = parts[depth]
        roots[PurePosixPath(*parts[:depth])] = member
        found.setdefault(variant, []).append(_picture(member, variant, parts[depth + 1 : -1]))
    if len(roots) > 1:
        first, second = list(roots.values())[:2]
        raise DatasetError(
            f"expected one DiffraNet, found two: {first.path} and {second.path} have different "
            "folders above the variant; import one at a time"
        )
    for pictures in found.values():
        pictures.sort(key=lambda p: (SPLITS.index(p.split), p.label, p.member.path.name))
    return {variant: found[variant] for variant in VARIANTS if variant in found}, left_out


def _picture(member: Member, variant: str, folders: tuple[str, ...]) -> LabelledPicture:
    classes = VARIANTS[variant]
    if len(folders) != 2:
        raise DatasetError(
            f"{member.path}: expected pictures in {variant}/SPLIT/CLASS/, found one in "
            f"{'/'.join((variant, *folders))}/"
        )
    split, number = folders
    if split not in SPLITS:
        raise DatasetError(
            f"{member.path}: expected the split {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, "
            f"found {split!r}"
        )
    if number not in {str(i + 1) for i in range(len(classes))}:
        raise DatasetError(
            f"{member.path}: expected a class folder 1 to {len(classes)} in {variant}, "
            f"found {number!r}"
        )
    return LabelledPicture(split=split, label=int(number) - 1, member=member)


def _contents(variant: str, pictures: list[LabelledPicture], source: Path) -> Contents:
    splits = {}
    for name in SPLITS:
        inside = [i for i, picture in enumerate(pictures) if picture.split == name]
        if inside:
            splits[name] = (inside[0], len(inside))
    return Contents(
        classes=VARIANTS[variant],
        labels=[picture.label for picture in pictures],
        sources=[str(picture.member.path) for picture in pictures],
        splits=splits,
        entries={"origin": "imported", "variant": variant, "imported_from": source.name},
    )


def _images(
    pictures: list[LabelledPicture], advance: Callable[[int], None]
) -> Iterator[tuple[NDArray[np.uint8], None]]:
    """Yield the images; `DatasetError` for one that is in two splits or classes."""
    seen: dict[bytes, LabelledPicture] = {}
    for picture in pictures:
        image = read_gray(picture.member.read(), str(picture.member.path))
        twin = seen.setdefault(hashlib.sha256(image.tobytes()).digest(), picture)
        if (twin.split, twin.label) != (picture.split, picture.label):
            raise DatasetError(
                f"{picture.member.path} is the same image as {twin.member.path}: expected no image "
                "in two splits or classes; remove one of them"
            )
        yield image, None
        advance(1)


def read_gray(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the 8-bit gray image (512, 512) that is the file `content`.

    Raises `DatasetError`: it is another kind of image, or none; the message begins with `name`.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of sizes that no image here has
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
    # Pillow raises all kinds of errors on damaged files
    except Exception as error:
        raise DatasetError(
            f"{name}: expected an image, found what cannot be read as one"
        ) from error
    with picture:
        if picture.size != (SIZE, SIZE):
            width, height = picture.size
            raise DatasetError(
                f"{name}: expected {SIZE} x {SIZE} pixels, found {height} x {width}; is this the "
                "published DiffraNet?"
            )
        # Pillow would stretch a PGM's values to 255
        scaled = re.match(rb"P[25]\s(?:\s*#[^\n]*\n)*\s*\d+\s+\d+\s+(?!255\s)\d+\s", content)
        if picture.mode != "L" or scaled:
            found = "another largest value than 255" if scaled else f"mode {picture.mode}"
            raise DatasetError(f"{name}: expected 8-bit gray, found {found}; convert it")
        try:
            return np.array(picture, dtype=np.uint8)
        # as above
        except Exception as error:
            raise DatasetError(f"{name}: the image is damaged or truncated ({error})") from error


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Make the directory `path` if it is missing; remove it again if the block fails."""
    made = not path.exists()
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {path}: {error.strerror or error}; choose another place"
        ) from error
    try:
        yield
    except BaseException:
        if made:
            path.rmdir()
        raise


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

    `out`: a folder that is not there yet, or empty. `start`: as in `import_diffranet`.

    Raises `DatasetError`: a file that cannot be read as a data set, other classes or sizes than
    DiffraNet has, splits that overlap, leave images out or have other names, or two files of one
    variant; `OutputError`: `out` is there already and not empty, or cannot be written; nothing is
    left of it.
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
    data: Dataset, splits: dict[str, tuple[int, int]], folder: Path, advance: Callable[[int], None]
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
