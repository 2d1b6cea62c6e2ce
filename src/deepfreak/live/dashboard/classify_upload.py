"""The verdict on an uploaded file, made in a process that can do little else."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfreak.errors import DeepFreakError, FrameError, InputError
from deepfreak.formats.guarded import MODULES
from deepfreak.isolation import LimitedProcess, Limits
from deepfreak.screening.policy import Policy

if TYPE_CHECKING:
    from deepfreak.formats.frame import Frame

LIMITS = Limits(cpu_s=10.0, wall_s=45.0, memory_bytes=1 << 30, file_bytes=256 << 20)
# Code may have to be compiled then, on a machine that has other work.
_LOADING = Limits(cpu_s=300.0, idle_s=300.0, wall_s=600.0, memory_bytes=4 << 30)


class UploadClassifier:
    """Classifies files that are sent, one at a time; its process is replaced when a file ends it.

    `model` is a file, None for the model that ships.
    """

    def __init__(self, model: Path | None, policy: Policy) -> None:
        self._model, self._policy = model, policy
        self._process = LimitedProcess(
            modules=[*MODULES, "deepfreak.live.dashboard.classify_upload"]
        )
        self._process.start()
        self._loaded = -1

    def __call__(self, content: bytes, suffix: str, *, limits: Limits = LIMITS) -> dict[str, Any]:
        """Return the verdict on the first frame of a file, as JSON values.

        Raises `InputError` where it cannot be read as a detector image, or refers to other files.
        """
        with self._process.alone():
            if self._loaded != self._process.generation:
                self._process.call(_load, self._model, self._policy, limits=_LOADING)
                self._loaded = self._process.generation
            found: dict[str, Any] = self._process.call(
                _judge, content, suffix, self._model, self._policy, limits=limits
            )
        return found

    def close(self) -> None:
        """End the process."""
        self._process.close()


# What follows runs in the process.


@lru_cache(maxsize=1)
def _screener(model: Path | None, policy: Policy) -> Callable[[Any], Any]:
    from deepfreak.models import load_model
    from deepfreak.screening.screener import Screener

    return Screener(load_model(model), policy)


def _load(model: Path | None, policy: Policy) -> None:
    """Load the model; then nothing but libraries and files that are sent can be opened."""
    import numpy as np

    from deepfreak.isolation.confine import confine
    from deepfreak.live.decide import warm_up

    warm_up(_screener(model, policy), np.int32, np.float32)
    os.chdir(tempfile.gettempdir())
    confine(tempfile.gettempdir())


def _of_two_types(frame: "Frame") -> "Frame":
    """Return `frame` with counts of int32 or float32: for each type code is compiled, which lasts.

    Counts beyond 2^31 - 1 become that.
    """
    import numpy as np

    counts = frame.counts
    if counts.dtype.kind == "f":
        return replace(frame, counts=counts.astype(np.float32, copy=False))
    if counts.dtype.itemsize >= np.dtype(np.int32).itemsize and counts.dtype != np.int32:
        bounds = np.iinfo(np.int32)
        counts = np.where(frame.valid, counts, 0).clip(
            max(bounds.min, np.iinfo(counts.dtype).min), bounds.max
        )
    return replace(frame, counts=counts.astype(np.int32, copy=False))


def _judge(content: bytes, suffix: str, model: Path | None, policy: Policy) -> dict[str, Any]:
    from deepfreak.formats import open_frames

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"image{suffix}")
        path.write_bytes(content)
        try:
            with open_frames(path, alone=True) as file:
                if file.count < 1:
                    raise InputError("expected an image, found a file of none")
                verdict = _screener(model, policy)(_of_two_types(file.read(0)))
        except DeepFreakError as error:
            if error.__cause__ is None or isinstance(error.__cause__, DeepFreakError):
                raise
            # what a library says may tell of files of this machine, such as whether they exist
            raise FrameError(
                "expected a detector image, found what cannot be read as one"
            ) from None
    return {
        "label": verdict.label,
        "probabilities": verdict.probabilities,
        "p_crystal": verdict.p_crystal,
        "decision": verdict.decision,
        "reasons": list(verdict.reasons),
        "signs": None if verdict.signs is None else verdict.signs.to_json(),
        "ms": verdict.ms,
    }
