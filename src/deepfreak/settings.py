"""The base of settings dataclasses: strict checks, and types for ranges of physical values."""

from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Vector = tuple[Finite, Finite, Finite]


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[1] < bounds[0]:
        raise ValueError(f"a range is [low, high] with low <= high, found {list(bounds)}")
    return bounds


# A length, or the range (low, high) in which each shot draws its own, uniformly.
Range = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
Extent = Positive | Range

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that checks its values when it is created.

    An unknown name or a value out of its range raises `pydantic.ValidationError`, a `ValueError`.
    """
    config = ConfigDict(extra="forbid")
    make = pydantic_dataclass(frozen=True, kw_only=True, slots=True, config=config)
    return cast("type[T]", make(cls))


def to_json(values: object) -> dict[str, Any]:
    """Return the settings `values`, an instance of a class made by `settings`, as JSON values."""
    found: dict[str, Any] = pydantic.TypeAdapter(type(values)).dump_python(values, mode="json")
    return found


def middle(extent: float | tuple[float, float]) -> float:
    """Return a length, or the mean of the values drawn from a range."""
    return sum(extent) / 2 if isinstance(extent, tuple) else extent


def one_line(error: pydantic.ValidationError) -> str:
    """Return the first problem of `error` as `where: what was expected, what was found`."""
    # A value of a union has a problem for each type: the deepest is that of the intended type.
    problems = error.errors()
    shared = problems[0]["loc"][:-1]
    near = [problem for problem in problems if problem["loc"][: len(shared)] == shared]
    first = max(near, key=lambda problem: len(problem["loc"]))
    # names of types, as "tuple[...]", are not part of a setting's name
    where = ".".join(part for part in map(str, first["loc"]) if not part.endswith("]"))
    message = f"{where}: {first['msg'].removeprefix('Value error, ')}"
    if first["type"] in {"missing", "value_error"}:
        return message
    found = repr(first["input"])
    return f"{message}, found {found[:80]}"
