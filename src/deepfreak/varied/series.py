"""Varied images into one file."""

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from deepfreak.dataset import AHEAD, Layout, make
from deepfreak.dataset.records import (
    PACKAGES,
    Record,
    compress,
    digest_of,
    flat_truth,
    processor,
)
from deepfreak.exchange.importing import REAL_CLASSES
from deepfreak.files import versions
from deepfreak.prepare import SIZE
from deepfreak.varied.experiment import LABEL_VERSION
from deepfreak.varied.shot import BLOCK, varied_image


def generate_varied(
    *,
    count: int,
    seed: int,
    out: str | Path,
    executor: Executor | None = None,
    ahead: int = AHEAD,
    overwrite: bool = False,
    resume: bool = False,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Simulate varied images 0 to count - 1 of a series into one HDF5 file; return its manifest.

    Image i depends on (seed, i) only. The arguments, the errors and what happens to a run that is
    broken off are those of `dataset.generate`.
    """
    purpose: dict[str, Any] = {
        "varied": {"version": LABEL_VERSION, "block": BLOCK},
        "seed": seed,
        "first": 0,
        "count": count,
        "of": count,
        "splits": {},
        "versions": versions(*PACKAGES),
    }
    return make(
        partial(_simulate_range, seed),
        out,
        purpose=purpose,
        layout=Layout((SIZE, SIZE), REAL_CLASSES, LABEL_VERSION),
        images_per_task=BLOCK,
        executor=executor,
        ahead=ahead,
        overwrite=overwrite,
        resume=resume,
        advance=advance,
    )


def _simulate_range(seed: int, first: int, last: int) -> list[bytes]:
    """Simulate images first to last - 1 into packed records; runs in a worker."""
    return [_record(seed, index).pack() for index in range(first, last)]


def _record(seed: int, index: int) -> Record:
    label, image, truth = varied_image(seed, index)
    return Record(label, digest_of(image), processor(), flat_truth(truth), compress(image))
