"""Search spaces: named parameters of four kinds, some of which depend on another's value.

A setting is a dictionary of plain values. The kernel densities see it as a vector of one coordinate
a parameter: between 0 and 1 where values have an order, the index of the choice where they have
none, and NaN where the parameter does not exist.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfreak.settings import Finite, settings

Value: TypeAlias = bool | int | float | str
Settings: TypeAlias = dict[str, Value]
Vector: TypeAlias = NDArray[np.float64]


@settings
class When:
    """When a parameter exists: if `parameter`, named before it, does and has one of `values`."""

    parameter: str
    values: tuple[Value, ...]


@settings
class Float:
    """A number between two bounds, spread evenly or, with `log`, by its logarithm."""

    lower: Finite
    upper: Finite
    log: bool = False
    when: When | None = None

    def __post_init__(self) -> None:
        _check_bounds(self.lower, self.upper, positive=self.log)

    @property
    def choices(self) -> int:
        """How many choices without an order: none."""
        return 0

    def value(self, coordinate: float) -> float:
        """Return the value at a coordinate."""
        if self.log:
            value = self.lower * (self.upper / self.lower) ** coordinate
        else:
            value = self.lower + coordinate * (self.upper - self.lower)
        return min(max(float(value), self.lower), self.upper)

    def coordinate(self, value: Value) -> float:
        """Return where a value lies; inside bounds between 0 and 1."""
        number = _number(value)
        if self.log:
            return math.log(number / self.lower) / math.log(self.upper / self.lower)
        return (number - self.lower) / (self.upper - self.lower)


@settings
class Integer:
    """A whole number between two bounds, which it may reach; each has an equal share of [0, 1].

    With `log` a number n has the share of the interval from n - 1/2 to n + 1/2 on that scale.
    """

    lower: int
    upper: int
    log: bool = False
    when: When | None = None

    def __post_init__(self) -> None:
        _check_bounds(self.lower, self.upper, positive=self.log)

    @property
    def choices(self) -> int:
        """How many choices without an order: none."""
        return 0

    def value(self, coordinate: float) -> int:
        """Return the value at a coordinate."""
        value = round(self._scale().value(coordinate))
        return min(max(value, self.lower), self.upper)

    def coordinate(self, value: Value) -> float:
        """Return where a value lies; inside bounds between 0 and 1."""
        return self._scale().coordinate(value)

    def _scale(self) -> Float:
        return Float(lower=self.lower - 0.5, upper=self.upper + 0.5, log=self.log)


@settings
class Ordinal:
    """One of some values that have an order; neighbours are taken to be equally far apart."""

    values: tuple[Value, ...]
    when: When | None = None

    def __post_init__(self) -> None:
        _check_values(self.values)

    @property
    def choices(self) -> int:
        """How many choices without an order: none."""
        return 0

    def value(self, coordinate: float) -> Value:
        """Return the value at a coordinate."""
        return self.values[min(int(coordinate * len(self.values)), len(self.values) - 1)]

    def coordinate(self, value: Value) -> float:
        """Return where a value lies, between 0 and 1."""
        return (self.values.index(value) + 0.5) / len(self.values)


@settings
class Categorical:
    """One of some values without an order; its coordinate is the index."""

    values: tuple[Value, ...]
    when: When | None = None

    def __post_init__(self) -> None:
        _check_values(self.values)

    @property
    def choices(self) -> int:
        """How many choices without an order."""
        return len(self.values)

    def value(self, coordinate: float) -> Value:
        """Return the value at a coordinate."""
        return self.values[int(coordinate)]

    def coordinate(self, value: Value) -> float:
        """Return the index of a value."""
        return float(self.values.index(value))


Parameter: TypeAlias = Float | Integer | Ordinal | Categorical


@dataclass(frozen=True, slots=True)
class Space:
    """Parameters by name; one that depends on another comes after it.

    Raises
    ------
    ValueError
        If there is none, or a condition names what does not come before it, or a value that this
        can never have.
    """

    parameters: Mapping[str, Parameter]

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ValueError("a search space needs a parameter, found none")
        before: dict[str, Parameter] = {}
        for name, parameter in self.parameters.items():
            if parameter.when is not None:
                _check_condition(name, parameter.when, before)
            before[name] = parameter

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def choices(self) -> NDArray[np.intp]:
        """How many choices each parameter has; 0 where values have an order."""
        return np.array([parameter.choices for parameter in self.parameters.values()], np.intp)

    def draw(self, rng: np.random.Generator) -> Vector:
        """Return a vector, evenly distributed, with all parameters whether they exist or not."""
        return np.where(
            self.choices > 0,
            rng.integers(np.maximum(self.choices, 1)),
            rng.random(len(self)),
        )

    def settings(self, vector: Vector) -> Settings:
        """Return the settings at a vector, without the parameters that do not exist there."""
        chosen: Settings = {}
        for (name, parameter), coordinate in zip(self.parameters.items(), vector, strict=True):
            when = parameter.when
            if when is None or chosen.get(when.parameter) in when.values:
                chosen[name] = parameter.value(float(coordinate))
        return chosen

    def vector(self, settings: Mapping[str, Value]) -> Vector:
        """Return where settings lie; NaN for a parameter that they do not have.

        Raises
        ------
        ValueError
            If one is not among its parameter's values.
        """
        return np.array(
            [
                parameter.coordinate(settings[name]) if name in settings else math.nan
                for name, parameter in self.parameters.items()
            ]
        )

    def description(self) -> dict[str, Any]:
        """Return the space as plain values, by which a journal knows it."""
        return {
            name: {"kind": type(parameter).__name__, **dataclasses.asdict(parameter)}
            for name, parameter in self.parameters.items()
        }


def _check_condition(name: str, when: When, before: Mapping[str, Parameter]) -> None:
    """Refuse a condition that cannot be met, or not by all of its values."""
    parent = before.get(when.parameter)
    if parent is None:
        raise ValueError(f"{name} depends on {when.parameter}, which must come before it")
    if isinstance(parent, Float):
        raise ValueError(  # noqa: TRY004 - like all others here
            f"{name} depends on values of {when.parameter}, a continuous number that hardly ever "
            "has one of them; depend on an Integer, an Ordinal or a Categorical"
        )
    if isinstance(parent, Integer):
        possible = f"whole numbers from {parent.lower} to {parent.upper}"
        never = [
            value
            for value in when.values
            if isinstance(value, str)
            or value != int(value)
            or not parent.lower <= value <= parent.upper
        ]
    else:
        possible = ", ".join(map(repr, parent.values))
        never = [value for value in when.values if value not in parent.values]
    if never or not when.values:
        found = ", ".join(map(repr, never)) or "none"
        raise ValueError(
            f"{name} depends on values of {when.parameter}: expected {possible}, found {found}"
        )


def _check_bounds(lower: float, upper: float, *, positive: bool) -> None:
    if not lower < upper:
        raise ValueError(f"lower must be below upper, found {lower} and {upper}")
    if positive and lower <= 0:
        raise ValueError(f"a logarithmic scale begins above 0, found {lower}")


def _check_values(values: tuple[Value, ...]) -> None:
    if len(values) < 2 or len(set(values)) < len(values):
        raise ValueError(f"expected two values or more, all different, found {values}")


def _number(value: Value) -> float:
    if isinstance(value, str):
        raise ValueError(f"expected a number, found {value!r}")  # noqa: TRY004 - like all others here
    return float(value)
