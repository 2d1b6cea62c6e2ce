"""What a record is made from, and how."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deepfreak.search.extraction import Progress, no_progress

if TYPE_CHECKING:
    from deepfreak.features.cache import FeatureCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a record is made from, and how.

    Attributes
    ----------
    data
        DiffraNet, with its three splits; for networks also a recipe that plans them.
    work
        Directory of searches and trainings, which are resumed if they exist.
    real
        Sets of real images by variant, `raw` and `preprocessed`; each with the splits `validation`
        and `test`.
    workers
        Processes and threads.
    progress, say
        Get what is shown meanwhile: bars, and a line for each step.
    """

    data: Path
    work: Path
    cache: "FeatureCache"
    real: Mapping[str, Path] = field(default_factory=dict)
    workers: int = 1
    progress: Progress = no_progress
    say: Callable[[str], None] = lambda _: None
