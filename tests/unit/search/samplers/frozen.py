"""Read the traces of benchmarks/hpbandster_traces.py."""

import json
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"


def traces(name: str) -> list[dict[str, Any]]:
    return json.loads((DATA / f"{name}.json").read_text())


def array(rows: list[Any], *, none: float = np.nan) -> np.ndarray:
    """Return lists as an array with `none` in place of None."""
    values = np.array(rows, dtype=object)
    return np.where(values == None, none, values).astype(float)  # noqa: E711 - element by element
