"""Measured frames with labels to the paper's two variants of a real data set (its section 3).

*Raw*: each frame downsampled, cropped without the beamstop's shadow, and taken to 8 bits by
`prepare`, the code that `classify` uses. *Preprocessed*: the raw pixels times one constant for the
whole set, chosen so that the set's mean is that of synthetic images.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import GROUPS
from deepfreak.datasets.diffranet.labelled import Contents, write_labelled
from deepfreak.datasets.file import Dataset
from deepfreak.datasets.real_images.crop import ByHand, DetectorSetup, SetupKey, Sums, setup_of
from deepfreak.datasets.real_images.labels import choose_test, read_labels, series_of
from deepfreak.encoding import SIZE
from deepfreak.errors import DatasetError, FrameError, InputError
from deepfreak.formats.finishing import ReadOptions
from deepfreak.formats.frame import Frame, Valid
from deepfreak.formats.guarded import open_guarded
from deepfreak.storage.files import check_output, whole_hdf5

Together = Literal["series", "file", "frame"]
Begin = Callable[[str, int], Callable[[int], None]]

_BYTES_PER_IMAGE = 2 * SIZE * SIZE  # both variants, valid pixels included


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFrame:
    """A frame of a file, its label, its source, and its detector's setup."""

    file: Path
    index: int
    label: int
    source: str
    setup: SetupKey


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RealSet:
    """What was made of the frames."""

    # the files
    raw: Path
    preprocessed: Path
    constant: float  # what raw pixels were multiplied by
    mean: float  # the mean of the preprocessed pixels, where valid
    splits: dict[str, tuple[int, int]]  # (first, count) by name
    setups: list[DetectorSetup]  # one a detector and place, in the order they were met
    # the first images of each setup: caption, raw image, preprocessed image, valid pixels
    examples: list[list["Example"]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """An image of the set, for the preview."""

    caption: str
    label: str
    raw: NDArray[np.uint8]
    preprocessed: NDArray[np.uint8]
    valid: Valid


def prepare_real_set(
    files: Sequence[Path],
    labels: Path,
    out: Path,
    *,
    target_mean: float,
    test_part: float = 0.2,
    seed: int = 0,
    together: Together = "series",
    by_hand: ByHand | None = None,
    options: ReadOptions | None = None,
    see: Callable[[Frame], None] = lambda _: None,
    examples: int = 0,
    overwrite: bool = False,
    start: Begin | None = None,
) -> RealSet:
    """Write the frames of `files` to `out` with _raw and _preprocessed in its name.

    Frames are read twice: once to find each setup's shadow on their sum, once to prepare them. They
    are stored validation first, then test, each in the order of `files`.

    Raises `InputError`: a label or frame that the other side lacks, or a frame that cannot be read
    or prepared; `OutputError`: an output exists, or the disk is full; nothing is left under their
    names.

    Parameters
    ----------
    files
        Detector files; not folders (`formats.find_files` lists their files).
    labels
        A CSV; see `labels.read_labels`.
    target_mean
        Mean gray level to reach: that of the synthetic images.
    together
        What must not be divided between validation and test: a series of files with one name but
        for their last number, a file, or a frame.
    options
        What is known beside the files.
    see
        Called with each frame that was read, for instance to say its notes.
    examples
        How many images of each setup to keep for the preview.
    start
        Called with what begins and the number of frames; returns what to call with the number of
        further ones.
    """
    paths = [out.with_name(f"{out.stem}_{name}.h5") for name in ("raw", "preprocessed")]
    known = read_labels(labels, files)
    begin = start or (lambda _what, _total: lambda _: None)
    reading = _Reading(options=options or ReadOptions(), see=see)
    counts = {file: reading.count(file) for file in files}
    known.check_frames(counts)
    wanted = [(file, i, known.of(file, i)) for file in files for i in range(counts[file])]
    for path in paths:
        check_output(path, overwrite=overwrite, expected_bytes=len(wanted) * _BYTES_PER_IMAGE)
    frames, setups = _survey(wanted, reading, together, by_hand or ByHand(), begin)
    rng = np.random.default_rng(seed)
    test = choose_test(
        [frame.label for frame in frames],
        [frame.source for frame in frames],
        part=test_part,
        rng=rng,
    )
    order = [frame for frame, is_test in zip(frames, test, strict=True) if not is_test]
    first_test = len(order)
    order += [frame for frame, is_test in zip(frames, test, strict=True) if is_test]
    splits = {"validation": (0, first_test), "test": (first_test, len(order) - first_test)}
    splits = {name: span for name, span in splits.items() if span[1]}
    contents = Contents(
        classes=GROUPS,
        labels=[frame.label for frame in order],
        sources=[f"{frame.file}#{frame.index}" for frame in order],
        splits=splits,
        entries={"origin": "measured", "split_seed": seed, "split_together": together},
    )
    crops = [setup.said() for setup in setups.values()]
    with (
        whole_hdf5(paths[0], overwrite=overwrite) as (raw, check_raw),
        whole_hdf5(paths[1], overwrite=overwrite) as (preprocessed, check_preprocessed),
    ):
        levels = np.zeros(256, dtype=np.int64)
        images = _prepared(order, reading, setups, levels, begin("preparing", len(order)))
        entries = contents.entries | {"variant": "real_raw", "crops": crops}
        write_labelled(raw, replace(contents, entries=entries), images, check_disk=check_raw)
        constant, mean = brightening(levels, target_mean)
        table = brightened(np.arange(256, dtype=np.uint8), constant)
        entries |= {"variant": "real_preprocessed", "constant": constant}
        entries |= {"target_mean": target_mean, "mean": mean}
        write_labelled(
            preprocessed,
            replace(contents, entries=entries),
            (
                (table[raw["images"][i]], raw["valid"][i].astype(np.bool_))
                for i in range(len(order))
            ),
            check_disk=check_preprocessed,
        )
        shown = [_examples(key, order, raw, table, examples) for key in setups]
    return RealSet(
        raw=paths[0],
        preprocessed=paths[1],
        constant=constant,
        mean=mean,
        splits=splits,
        setups=list(setups.values()),
        examples=shown,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reading:
    """How frames are read."""

    options: ReadOptions
    see: Callable[[Frame], None]

    def count(self, file: Path) -> int:
        """Return the number of frames of a file."""
        try:
            with open_guarded(file, **self.options) as opened:
                return opened.count
        except InputError as error:
            raise FrameError(f"{file}: {error}") from error

    def frames(self, wanted: Iterable[tuple[Path, int]]) -> Iterator[Frame]:
        """Yield frames of files, opening each file once in a row."""
        rows: list[tuple[Path, list[int]]] = []
        for path, index in wanted:
            if not rows or rows[-1][0] != path:
                rows.append((path, []))
            rows[-1][1].append(index)
        for path, indices in rows:
            try:
                with open_guarded(path, **self.options) as file:
                    for index in indices:
                        frame = file.read(index)
                        self.see(frame)
                        yield frame
            except FrameError as error:
                raise FrameError(f"{path}: {error}") from error


def _survey(
    wanted: Sequence[tuple[Path, int, int]],
    reading: _Reading,
    together: Together,
    by_hand: ByHand,
    begin: Begin,
) -> tuple[list[LabelledFrame], dict[SetupKey, DetectorSetup]]:
    """Read all frames once: return what they are, and the setups with their shadows and crops."""
    advance = begin("looking for shadows", len(wanted))
    frames: list[LabelledFrame] = []
    sums: dict[SetupKey, Sums] = {}
    for (file, index, label), frame in zip(
        wanted, reading.frames((file, index) for file, index, _ in wanted), strict=True
    ):
        series = series_of(file)
        key = setup_of(frame, series)
        if key not in sums:
            sums[key] = Sums(frame)
        sums[key].add(frame)
        source = {"series": series, "file": str(file), "frame": f"{file}#{index}"}
        frames.append(
            LabelledFrame(file=file, index=index, label=label, source=source[together], setup=key)
        )
        advance(1)
    return frames, {key: total.setup(by_hand) for key, total in sums.items()}


def _prepared(
    order: Sequence[LabelledFrame],
    reading: _Reading,
    setups: Mapping[SetupKey, DetectorSetup],
    levels: NDArray[np.int64],
    advance: Callable[[int], None],
) -> Iterator[tuple[NDArray[np.uint8], Valid]]:
    """Yield images and valid pixels, and add to `levels` how often each gray level is there."""
    read = reading.frames((labelled.file, labelled.index) for labelled in order)
    for labelled, frame in zip(order, read, strict=True):
        try:
            prepared = setups[labelled.setup].prepare(frame)
        except FrameError as error:
            raise FrameError(f"{labelled.file}, frame {labelled.index}: {error}") from error
        levels += np.bincount(prepared.image[prepared.valid], minlength=256)
        yield prepared.image, prepared.valid
        advance(1)


def _examples(
    key: SetupKey,
    order: Sequence[LabelledFrame],
    raw: h5py.File,
    table: NDArray[np.uint8],
    most: int,
) -> list[Example]:
    """Return the first `most` images of a setup."""
    inside = [i for i, labelled in enumerate(order) if labelled.setup == key][:most]
    return [
        Example(
            caption=f"{order[i].file.name}, frame {order[i].index}",
            label=GROUPS[order[i].label],
            raw=raw["images"][i],
            preprocessed=table[raw["images"][i]],
            valid=raw["valid"][i].astype(np.bool_),
        )
        for i in inside
    ]


def brightening(levels: NDArray[np.int64], target: float) -> tuple[float, float]:
    """Return the constant that brings pixels to the mean `target`, and the mean that it reaches.

    Products are rounded and end at 255, which is why the constant is searched for and not the
    quotient of the means, and why the mean is reached only as near as whole gray levels allow.

    `levels`: how many pixels have each of the 256 gray levels.
    """
    if not levels[1:].any():
        raise DatasetError("expected frames with light on them, found images that are all black")

    def mean(constant: float) -> float:
        values = brightened(np.arange(256, dtype=np.uint8), constant)
        return float(np.dot(levels, values.astype(np.float64)) / levels.sum())

    low, high = 0.0, 1.0
    while mean(high) < target and high < 510:  # every lit pixel is white at the latest there
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < target else (low, middle)
    best = min((low, high), key=lambda constant: abs(mean(constant) - target))
    return best, mean(best)


def brightened(image: NDArray[np.uint8], constant: float) -> NDArray[np.uint8]:
    """Return `image` times `constant`, rounded, 255 at most."""
    product = np.rint(image.astype(np.float64) * constant)
    return np.minimum(product, 255).astype(np.uint8)


def mean_of(path: Path, *, start: Begin | None = None) -> float:
    """Return the mean gray level of all images of a data set; `DatasetError` if it has none."""
    with Dataset.open(path) as data:
        if not len(data):
            raise DatasetError(f"{path}: expected images to take the mean of, found none")
        advance = start("taking the mean", len(data)) if start else lambda _: None
        total = 0.0
        for index in range(len(data)):
            total += float(data.images[index].mean())
            advance(1)
        return total / len(data)
