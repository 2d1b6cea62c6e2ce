"""The label files of CXIDB 76, as the repository nksauter/fv5080 has them."""

import math
import pickletools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import GeometryError, InputError

LABELS = ("hit", "maybe", "miss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spots:
    """What DIALS found in a frame: how many spots, and whether its threshold makes that a hit."""

    count: int
    hit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels of a run, by the frame's number from 1.

    Attributes
    ----------
    file
        The name of the run's HDF5 file.
    expert
        One of `LABELS` for each frame that the expert labelled.
    dials
        Frames without spots are not in the file; None without the file.
    mask
        The file of the mask that DIALS was given.
    """

    file: str
    expert: Mapping[int, str]
    dials: Mapping[int, Spots] | None = None
    mask: Path | None = None


def parse_expert(text: str, source: str) -> tuple[str, dict[int, str]]:
    """Return the name of the frames' file, and the label of each frame by its number from 1.

    A line is `r0027_2000.h5 [17] MISS`, in any order; `None` stands for a frame without a label.

    Raises
    ------
    InputError
        A line is different, a frame is labelled twice, or the lines name several files.
    """
    names: set[str] = set()
    found: dict[int, str] = {}
    for place, line in _lines(text):
        match = re.fullmatch(r"(\S+)\s+\[\s*(\d+)\s*\]\s+(\w+)", line)
        label = match[3].lower() if match else ""
        if match is None or label not in (*LABELS, "none"):
            raise InputError(
                f"expected a line such as 'r0027_2000.h5 [17] MISS' in {source}, found "
                f"{line:.60} in line {place}"
            )
        number = int(match[2])
        if number < 1 or number in found:
            raise InputError(
                f"expected one label for each frame from 1, found a second one or frame 0 in "
                f"line {place} of {source}: {line:.60}"
            )
        names.add(match[1])
        found[number] = label
    if len(names) != 1:
        listed = ", ".join(sorted(names)[:3]) or "none"
        raise InputError(f"expected labels of one HDF5 file in {source}, found: {listed}")
    return names.pop(), {number: label for number, label in found.items() if label != "none"}


def parse_dials(text: str, source: str) -> dict[int, Spots]:
    """Return DIALS's spots by the frame's number from 1; a line is `00017    22 Miss`.

    Raises
    ------
    InputError
        A line is different, or a frame has two.
    """
    found: dict[int, Spots] = {}
    for place, line in _lines(text):
        match = re.fullmatch(r"(\d+)\s+(\d+)\s+(hit|miss)", line, re.IGNORECASE)
        if match is None or int(match[1]) in found:
            raise InputError(
                f"expected one line such as '00017    22 Miss' for each frame in {source}, found "
                f"{line:.60} in line {place}"
            )
        found[int(match[1])] = Spots(count=int(match[2]), hit=match[3].lower() == "hit")
    return found


def read_labels(directory: Path, run: str) -> Labels:
    """Return the labels of a run in a copy of fv5080, or in its directory `annotation`.

    Raises
    ------
    InputError
        The expert's labels are missing, or a file is damaged.
    """
    places = [directory / "annotation" / run, directory / run]
    place = next((one for one in places if (one / "expert_annotation.txt").is_file()), None)
    if place is None:
        raise InputError(
            f"expected {run}/expert_annotation.txt in {directory}, found none: give --labels a "
            "copy of the repository nksauter/fv5080"
        )
    expert = place / "expert_annotation.txt"
    file, labels = parse_expert(_text(expert), str(expert))
    dials = place / "dials_annotation.txt"
    masks = [place / "mask2.pickle", place / "mask.pickle"]  # of LG36, DIALS was given the first
    return Labels(
        file=file,
        expert=labels,
        dials=parse_dials(_text(dials), str(dials)) if dials.is_file() else None,
        mask=next((mask for mask in masks if mask.is_file()), None),
    )


def read_pickled_mask(path: Path) -> NDArray[np.bool_]:
    """Return the pixels [slow, fast] that a mask of DIALS leaves out.

    The file is a pickle of cctbx. It is taken apart, and nothing in it is run: it holds the size,
    and a text with a 1 for each pixel that counts.

    Raises
    ------
    GeometryError
        It is another file.
    """
    sizes: list[int] = []
    names: list[str] = []
    packed = b""
    try:
        for operation, value, _ in pickletools.genops(path.read_bytes()):
            if isinstance(value, int) and operation.name.startswith("BININT"):
                sizes.append(value)
            elif operation.name in {"GLOBAL", "STACK_GLOBAL"} and isinstance(value, str):
                names.append(value)
            elif isinstance(value, str | bytes) and len(value) > len(packed):
                packed = value.encode("latin-1") if isinstance(value, str) else value
    except OSError as error:
        raise GeometryError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, IndexError, UnicodeError) as error:
        raise GeometryError(f"expected a mask of DIALS in {path}, found other bytes") from error
    start = packed[0] & 0x7F if packed else 0  # of the pixels, behind their number in base 256
    pixels = np.frombuffer(packed[start:], np.uint8)
    shape = tuple(sizes[-2:])
    fits = len(shape) == 2 and math.prod(shape) == len(pixels) > 0
    if (
        not fits
        or "scitbx_array_family_flex_ext bool" not in names
        or not np.isin(pixels, np.frombuffer(b"01", np.uint8)).all()
    ):
        raise GeometryError(f"expected a mask of DIALS in {path}, found another pickle")
    return np.asarray(pixels == ord("0")).reshape(shape)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for place, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield place, line.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
