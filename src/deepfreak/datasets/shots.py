"""Shots of a series into files, with the truth about each beside them.

Layout of a folder::

    shot_000000.cbf, ...     one file a shot, numbered by its place in the series; or
    shots.h5                 all of them as NXmx
    shots.json               settings, seed, versions; of each shot its file, class and truth
    shot_000000_rings.png    a preview, if requested
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray

from deepfreak.datasets.executors import in_order
from deepfreak.encoding import to_8_bits
from deepfreak.errors import InputError, OutputError, StructureError
from deepfreak.formats.files import FORMATS as ALL_FORMATS
from deepfreak.formats.hdf5.nxmx import nxmx_file
from deepfreak.formats.shot_metadata import ShotMetadata, metadata_of
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import expose
from deepfreak.physics.noise import detect
from deepfreak.physics.recipe import settings_of
from deepfreak.physics.shot import Shot, Truth
from deepfreak.storage.files import check_output, versions, whole_file

if TYPE_CHECKING:
    from deepfreak.physics.gpu import Renderer

Image = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
Kind = Literal["roots", "counts", "photons"]
Backend = Literal["cpu", "gpu"]
WriteImage = Callable[[int, Any], None]
DrawPreview = Callable[[Path, Image, ShotMetadata, bool], None]

_SINGLE = {each.name.lower(): each for each in ALL_FORMATS if each.write is not None}
FORMATS = (*_SINGLE, "h5")
_BYTES = {"roots": 1, "counts": 2, "photons": 4}
# A class rarer than this is not worth the search.
MAX_DRAWS_A_SHOT = 10_000


def write_shots(
    shots: Sequence[Shot],
    folder: Path,
    *,
    form: str,
    noiseless: bool = False,
    backend: Backend = "cpu",
    draw_preview: DrawPreview | None = None,
    executor: Executor | None = None,
    overwrite: bool = False,
    advance: Callable[[int], None] | None = None,
) -> Path:
    """Render shots of one series into files in `folder` and return the path of `shots.json`.

    PGM and PNG hold the 8-bit square root, just what `generate` puts at a shot's index; the others
    the counts before it. Without noise they hold the expected photons.

    Raises `InputError`: the format cannot hold expected photons; `BackendError`: there is no GPU
    for that backend, or it does not render all of the experiment; `OutputError`: a file exists
    already; none is written then. Or the disk is full.

    Parameters
    ----------
    folder
        Made if it is missing.
    draw_preview
        Called with the path to write, the image, its header, and whether to overwrite.
    executor
        Where shots are rendered; in this process by default. It changes no byte.
    advance
        Called with the number of further shots written.
    """
    kind = _kind(form, noiseless=noiseless)
    experiment = shots[0].experiment
    if backend == "gpu":
        _renderer(experiment)
    suffix = "" if form == "h5" else _SINGLE[form].suffixes[0]
    files = [f"shot_{shot.index:06d}{suffix}" if suffix else "shots.h5" for shot in shots]
    previews = [f"shot_{shot.index:06d}_rings.png" for shot in shots] if draw_preview else []
    made = not folder.exists()
    _check_outputs(folder, [*files, *previews], shots, kind, overwrite=overwrite)
    try:
        experiment.structure_factors()  # fills the cache before the workers ask for it
    except StructureError:
        if made:
            folder.rmdir()
        raise
    records = []
    with _image_writer(folder, files, shots, form, kind, overwrite=overwrite) as write:
        render = partial(_render, kind=kind, backend=backend)
        for number, (image, truth) in enumerate(
            in_order(executor, render, ((shot,) for shot in shots))
        ):
            shot = shots[number]
            write(number, image)
            if draw_preview is not None:
                draw_preview(folder / previews[number], image, metadata_of(shot), overwrite)
            records.append(
                {
                    "file": files[number],
                    "frame": number if form == "h5" else 0,
                    "index": shot.index,
                    "class": shot.class_name,
                    "truth": pydantic.TypeAdapter(Truth).dump_python(truth, mode="json"),
                }
            )
            if advance is not None:
                advance(1)
    truth_file = folder / "shots.json"
    with whole_file(truth_file, overwrite=overwrite) as partial_file:
        run = {
            "kind": "deepfreak shots",
            "images": kind,
            "format": form,
            "backend": backend,
            "experiment": settings_of(experiment),
            "seed": shots[0].seed,
            "versions": versions("numpy", "numba", "gemmi"),
            "shots": records,
        }
        partial_file.write_text(json.dumps(run, indent=1, allow_nan=False) + "\n", "utf-8")
    return truth_file


def choose_shots(
    experiment: Experiment,
    *,
    seed: int,
    count: int,
    first: int = 0,
    only: str | None = None,
    max_draws_a_shot: int = MAX_DRAWS_A_SHOT,
) -> list[Shot]:
    """Return `count` shots of the series that `seed` names, from the one numbered `first` on.

    `only`: class of the shots to take; the others are skipped and keep their numbers.

    Raises `InputError`: there is no such class, or too few of its shots.
    """
    names = experiment.classes.names
    if only is not None and only not in names:
        raise InputError(f"expected one of the classes {', '.join(names)}, found {only}")
    chosen: list[Shot] = []
    index = first
    while len(chosen) < count:
        shot = experiment.draw(seed=seed, index=index)
        if only is None or shot.class_name == only:
            chosen.append(shot)
        index += 1
        if index - first >= max_draws_a_shot * count:
            raise InputError(
                f"expected {count} shots of class {only}, found {len(chosen)} among "
                f"{index - first}; the recipe makes hardly any"
            )
    return chosen


def _kind(form: str, *, noiseless: bool) -> Kind:
    """Return what a file of this format is to hold."""
    if noiseless and form not in {"tiff", "h5"}:
        raise InputError(
            f"{form} cannot hold expected photons, which are not whole; take tiff or h5"
        )
    if noiseless:
        return "photons"
    return "roots" if form in {"pgm", "png"} else "counts"


def _check_outputs(
    folder: Path, files: list[str], shots: Sequence[Shot], kind: Kind, *, overwrite: bool
) -> None:
    """Make the folder, and refuse what could not be written in the end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    rows, columns = shots[0].experiment.detector.image_size
    # byte-offset and bitshuffle store most counts in one byte
    each = rows * columns * (_BYTES[kind] if kind != "counts" else 1)
    check_output(
        folder / "shots.json", overwrite=overwrite, expected_bytes=int(len(shots) * each * 0.75)
    )
    for file in dict.fromkeys(files):
        check_output(folder / file, overwrite=overwrite)


@contextmanager
def _image_writer(
    folder: Path, files: list[str], shots: Sequence[Shot], form: str, kind: Kind, *, overwrite: bool
) -> Iterator[WriteImage]:
    """Give a function that takes a shot's place in `shots` and its image."""
    if form == "h5":
        wavelengths = [shot.wavelength_A for shot in shots]
        with nxmx_file(
            folder / files[0],
            metadata_of(shots[0]),
            wavelengths,
            noiseless=kind == "photons",
            overwrite=overwrite,
        ) as write:
            yield write
        return

    write_shot = _SINGLE[form].write

    def write_one(number: int, image: Image) -> None:
        if write_shot is not None:  # as in all of `_SINGLE`
            write_shot(
                folder / files[number], image, metadata_of(shots[number]), overwrite=overwrite
            )

    yield write_one


def _render(shot: Shot, *, kind: Kind, backend: Backend) -> tuple[Image, Truth]:
    """Return a shot's image and the truth about it; runs in a worker."""
    expected, truth = _renderer(shot.experiment).expose(shot) if backend == "gpu" else expose(shot)
    if kind == "photons":
        return expected, truth
    counts = detect(expected, shot.experiment.detector, shot.noise_generator())
    return (to_8_bits(counts) if kind == "roots" else counts), truth


@lru_cache(maxsize=1)
def _renderer(experiment: Experiment) -> "Renderer":
    """Keep what the shots of an experiment share on the GPU."""
    from deepfreak.physics.gpu import Renderer

    return Renderer(experiment)
