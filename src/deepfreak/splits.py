"""How a data set is planned: its size, and which part of it is for what."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from deepfreak.settings import Count, settings


def _pairs(splits: object) -> object:
    """Return the items of a table; settings hold no mappings, which could be changed."""
    return tuple(splits.items()) if isinstance(splits, Mapping) else splits


@settings
class DatasetPlan:
    """What `deepfreak data generate` makes of a recipe unless it is told otherwise."""

    # count, seed: how many images, and of which series
    count: Count
    seed: Annotated[int, Field(ge=0)] = 0
    # Names and sizes of consecutive parts, as a table or as pairs; what they leave is in none
    splits: Annotated[tuple[tuple[str, Count], ...], BeforeValidator(_pairs)] = ()

    def __post_init__(self) -> None:
        places_of(dict(self.splits), self.count)
        if len(dict(self.splits)) != len(self.splits):
            raise ValueError("the names of splits are distinct")


def places_of(splits: Mapping[str, int], count: int) -> dict[str, tuple[int, int]]:
    """Return where each split begins and how many images it has.

    Raises `ValueError` if they are more than `count` together, or have a name that is no word.
    """
    places, first = {}, 0
    for name, size in splits.items():
        if not re.fullmatch(r"\w[\w-]*", name):
            raise ValueError(f"a split's name is a word such as train, found {name!r:.40}")
        if size < 1:
            raise ValueError(f"a split has at least one image, found {name} = {size}")
        places[name] = (first, size)
        first += size
    if first > count:
        raise ValueError(f"splits of {first} images do not fit into {count}")
    return places
