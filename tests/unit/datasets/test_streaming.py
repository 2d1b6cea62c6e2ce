"""Streaming: endless, and the very images of the stored series."""

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from deepfreak.datasets import Dataset, stream, worker_processes
from deepfreak.physics.experiment import Experiment


def test_a_stream_gives_the_batches_of_the_stored_set(small: Experiment, made: Path) -> None:
    with Dataset.open(made) as data:
        pairs = zip(data.batches(5), stream(small, seed=3, batch=5), strict=False)
        for stored, fresh in islice(pairs, 2):
            np.testing.assert_array_equal(fresh.images, stored.images)
            np.testing.assert_array_equal(fresh.labels, stored.labels)
            assert fresh.truth.keys() == stored.truth.keys()
            for name, values in fresh.truth.items():
                np.testing.assert_array_equal(values, stored.truth[name])


def test_workers_change_nothing_and_a_stream_goes_on_where_told(small: Experiment) -> None:
    with worker_processes(2) as executor:
        batches = stream(small, seed=3, batch=2, first=4, executor=executor, ahead=3)
        there = list(islice(batches, 3))
        batches.close()
    here = list(islice(stream(small, seed=3, batch=2, first=4), 3))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.images, other.images)


def test_a_gpu_renders_the_same_shots(small: Experiment) -> None:
    class Renderer:
        def render(self, *, seed: int, first: int, count: int) -> Any:
            shots = [small.draw(seed=seed, index=first + i) for i in range(count)]
            return SimpleNamespace(images=f"{count} on the device", shots=shots)

    fresh = list(islice(stream(small, seed=3, batch=3, renderer=Renderer()), 2))
    cpu = list(islice(stream(small, seed=3, batch=3), 2))
    for one, other in zip(fresh, cpu, strict=True):
        assert one.images == "3 on the device"
        np.testing.assert_array_equal(one.labels, other.labels)
        for name, values in one.truth.items():
            np.testing.assert_array_equal(values, other.truth[name])
