"""Obstacles between crystal and detector: beamstops, their holders, and other shadows.

An obstacle is described in a plane across the beam, `distance_mm` behind the crystal: in mm from
the beam, first down (-y), then right (+z), which are the slow and fast axes of a detector that
faces the beam. A pixel is in its shadow if the straight line from the crystal meets it there.
"""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.settings import Finite, Fraction, NonNegative, Positive, settings

Array = NDArray[np.float64]
Point = tuple[Finite, Finite]

# Fields that all obstacles share, described in `Beamstop`: transmission, edge_mm, distance_mm.


@settings
class Beamstop:
    """A disc."""

    kind: Literal["beamstop"] = "beamstop"
    radius_mm: Positive  # of the disc
    offset_mm: Point = (0.0, 0.0)  # its centre, (down, right) from the beam
    transmission: Fraction = 0.0  # share of the light that passes through it
    # Width over which light fades at its edge: the penumbra of a crystal lit over that width
    edge_mm: NonNegative = 0.0
    distance_mm: Positive | None = None  # of its plane from the crystal; by default the detector's

    def outside_mm(self, down: Array, right: Array) -> Array:
        """Return how far points are from its edge, negative within."""
        outside: Array = np.hypot(down - self.offset_mm[0], right - self.offset_mm[1])
        outside -= self.radius_mm
        return outside


@settings
class Bar:
    """A straight bar across the whole image, or an arm from the beam outwards."""

    kind: Literal["bar"] = "bar"
    width_mm: Positive  # of the bar
    angle_deg: Finite = 0.0  # its direction, from right (0) to down (90)
    # A point of its middle line, (down, right) from the beam: where an arm begins
    offset_mm: Point = (0.0, 0.0)
    arm: bool = False  # whether it extends from there in its direction only
    transmission: Fraction = 0.0
    edge_mm: NonNegative = 0.0
    distance_mm: Positive | None = None

    def outside_mm(self, down: Array, right: Array) -> Array:
        """Return how far points are from its edge, negative within."""
        along, across = _turned(down - self.offset_mm[0], right - self.offset_mm[1], self.angle_deg)
        outside = np.abs(across) - self.width_mm / 2
        return np.maximum(outside, -along) if self.arm else outside


@settings
class HalfPlane:
    """Everything beyond a straight edge: a wall, a nozzle's holder, a cryostream."""

    kind: Literal["half-plane"] = "half-plane"
    # Distance of the edge from the beam; negative if the beam itself is behind it
    beyond_mm: Finite
    angle_deg: Finite = 0.0  # direction in which it lies, from right (0) to down (90)
    transmission: Fraction = 0.0
    edge_mm: NonNegative = 0.0
    distance_mm: Positive | None = None

    def outside_mm(self, down: Array, right: Array) -> Array:
        """Return how far points are from its edge, negative within."""
        along, _ = _turned(down, right, self.angle_deg)
        return self.beyond_mm - along


@settings
class Shadow:
    """A polygon."""

    kind: Literal["shadow"] = "shadow"
    # In order, each (down, right) from the beam. Where its sides cross, every second part counts.
    corners_mm: Annotated[tuple[Point, ...], Field(min_length=3)]
    transmission: Fraction = 0.0
    edge_mm: NonNegative = 0.0
    distance_mm: Positive | None = None

    def outside_mm(self, down: Array, right: Array) -> Array:
        """Return how far points are from its edge, negative within."""
        nearest = np.full(down.shape, np.inf)
        within = np.zeros(down.shape, dtype=bool)
        before = self.corners_mm[-1]
        for corner in self.corners_mm:
            side_down, side_right = corner[0] - before[0], corner[1] - before[1]
            from_down, from_right = down - before[0], right - before[1]
            length_sqr = side_down**2 + side_right**2
            if length_sqr > 0:
                share = (from_down * side_down + from_right * side_right) / length_sqr
                np.clip(share, 0, 1, out=share)
                distance = np.hypot(from_down - share * side_down, from_right - share * side_right)
                np.minimum(nearest, distance, out=nearest)
            if side_down != 0:
                # a ray to the right meets this side
                level = (before[0] > down) != (corner[0] > down)
                within ^= level & (from_right < from_down * side_right / side_down)
            before = corner
        return np.where(within, -nearest, nearest)


Obstacle = Annotated[Beamstop | Bar | HalfPlane | Shadow, Field(discriminator="kind")]


def transmitted(obstacle: Obstacle, positions_mm: Array, *, distance_mm: float) -> Array:
    """Return the share of light that passes `obstacle` on its way to `positions_mm`, (..., xyz).

    `distance_mm` is that of the obstacle's plane if it does not say itself. Light that is scattered
    backwards never meets it.
    """
    plane_mm = distance_mm if obstacle.distance_mm is None else obstacle.distance_mm
    forward = positions_mm[..., 0] > 0
    scale = plane_mm / np.where(forward, positions_mm[..., 0], 1.0)
    outside = obstacle.outside_mm(-positions_mm[..., 1] * scale, positions_mm[..., 2] * scale)
    if obstacle.edge_mm > 0:
        # behind a straight edge an even source is half seen at the edge, and linearly around it
        open_share = np.clip(outside / obstacle.edge_mm + 0.5, 0, 1)
    else:
        open_share = (outside > 0).astype(np.float64)
    passing = obstacle.transmission + (1 - obstacle.transmission) * open_share
    return np.where(forward, passing, 1.0)


def _turned(down: Array, right: Array, angle_deg: float) -> tuple[Array, Array]:
    """Return coordinates along a direction and across it."""
    angle = math.radians(angle_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    return right * cos + down * sin, down * cos - right * sin
