"""Search spaces: named parameters of four kinds, some of which depend on another's value.

Settings are a dictionary of plain values. Kernel densities see them as a vector of one coordinate
per parameter: between 0 and 1 where values have an order, the index of the choice where they have
none, and NaN where the parameter does not exist.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfreak.settings import Finite, settings

Value: TypeAlias = bool | int | float | str | tuple[int | float, ...] | None
Settings: TypeAlias = dict[str, Value]
Vector: TypeAlias = NDArray[np.float64]


@settings
class When:
    """When a parameter exists: if `parameter`, named before it, does and has one of `values`."""

    parameter: str
    values: tuple[Value, ...]


@settings
class Parameter:
    """What the four kinds share: `when` it exists, on which other it depends, None if always."""

    when: When | None = None

    @property
    def choices(self) -> int:
        """How many choices it has if they are without an order, otherwise 0."""
        return 0

    def value(self, coordinate: float) -> Value:
        """Return the value at a coordinate."""
        raise NotImplementedError

    def coordinate(self, value: Value) -> float:
        """Return where a value lies; `ValueError` if it is not one of the parameter's."""
        raise NotImplementedError


@settings
class Float(Parameter):
    """A number between two bounds, distributed evenly or, with `log`, by its logarithm."""

    lower: Finite
    upper: Finite
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.lower, self.upper, positive=self.log)

    def value(self, coordinate: float) -> float:
        """Return the value at a coordinate."""
        if self.log:
            value = self.lower * (self.upper / self.lower) ** coordinate
        else:
            value = self.lower + coordinate * (self.upper - self.lower)
        return min(max(float(value), self.lower), self.upper)

    def coordinate(self, value: Value) -> float:
        """Return where a value lies."""
        number = _number(value)
        if self.log:
            return math.log(number / self.lower) / math.log(self.upper / self.lower)
        return (number - self.lower) / (self.upper - self.lower)


@settings
class Integer(Parameter):
    """A whole number between two bounds, which it may reach; each has an equal share of [0, 1].

    With `log` a number n has the share of the interval from n - 1/2 to n + 1/2 on that scale.
    """

    lower: int
    upper: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.lower, self.upper, positive=self.log)

    def value(self, coordinate: float) -> int:
        """Return the value at a coordinate."""
        value = round(self._scale().value(coordinate))
        return min(max(value, self.lower), self.upper)

    def coordinate(self, value: Value) -> float:
        """Return where a value lies."""
        return self._scale().coordinate(value)

    def _scale(self) -> Float:
        return Float(lower=self.lower - 0.5, upper=self.upper + 0.5, log=self.log)


@settings
class Ordinal(Parameter):
    """One of several ordered values; neighbours are taken to be equally far apart."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _check_values(self.values)

    def value(self, coordinate: float) -> Value:
        """Return the value at a coordinate."""
        return self.values[min(int(coordinate * len(self.values)), len(self.values) - 1)]

    def coordinate(self, value: Value) -> float:
        """Return where a value lies."""
        return (self.values.index(value) + 0.5) / len(self.values)


@settings
class Categorical(Parameter):
    """One of several values without an order; its coordinate is the index."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _check_values(self.values)

    @property
    def choices(self) -> int:
        """How many choices there are."""
        return len(self.values)

    def value(self, coordinate: float) -> Value:
        """Return the value at a coordinate."""
        return self.values[int(coordinate)]

    def coordinate(self, value: Value) -> float:
        """Return where a value lies."""
        return float(self.values.index(value))


@dataclass(frozen=True, slots=True)
class Space:
    """Parameters by name; one that depends on another comes after it.

    `ValueError` if there is none, or a condition names one that does not come before, or a value
    that this can never have.
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
            self.choices > 0, rng.integers(np.maximum(self.choices, 1)), rng.random(len(self))
        )

    def walk(self, choose: Callable[[str, Parameter], Value]) -> Settings:
        """Return the settings that `choose` gives, in order, for the parameters that exist."""
        chosen: Settings = {}
        for name, parameter in self.parameters.items():
            when = parameter.when
            if when is None or (when.parameter in chosen and chosen[when.parameter] in when.values):
                chosen[name] = choose(name, parameter)
        return chosen

    def settings(self, vector: Vector) -> Settings:
        """Return the settings at a vector, without the parameters that do not exist there."""
        coordinates = dict(zip(self.parameters, vector.tolist(), strict=True))
        return self.walk(lambda name, parameter: parameter.value(coordinates[name]))

    def vector(self, settings: Mapping[str, Value]) -> Vector:
        """Return where settings lie; NaN for a parameter that they do not have.

        `ValueError` if one is not among its parameter's values.
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
    """Reject a condition that cannot be met, or not by all of its values."""
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
            if not isinstance(value, int | float)
            or value != int(value)
            or not parent.lower <= value <= parent.upper
        ]
    else:
        values = parent.values if isinstance(parent, Ordinal | Categorical) else ()
        possible = ", ".join(map(repr, values))
        never = [value for value in when.values if value not in values]
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
    if not isinstance(value, int | float):
        raise ValueError(f"expected a number, found {value!r}")  # noqa: TRY004 - like all others here
    return float(value)


def plain(value: Any) -> Any:  # noqa: ANN401 -- any JSON value
    """Return a value of settings that JSON has turned into a list as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value


def label(value: object) -> str:
    """Return a value as text: `none`, `1,2,5`, `0.00195312`."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(label(part) for part in value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)
