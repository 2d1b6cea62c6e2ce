import dataclasses
import multiprocessing
import os

import numpy as np
import pytest

from deepfreak.physics.structure_factors.factors import StructureFactors
from deepfreak.physics.structure_factors.sources import cached

SETTINGS = {"kind": "made up", "seed": 1}


def made_up(value=1.0):
    return StructureFactors(
        F=np.full((3, 5, 7), value, np.float32),
        hkl_min=(-1, -2, -3),
        cell=(10.0, 20.0, 30.0, 90.0, 90.0, 90.0),
        space_group="P 1",
        d_min_A=2.5,
        source="a test with \N{GREEK SMALL LETTER MU}",
        default_F=0.5,
        composition=(("C", 4.0), ("O", 2.5)),
        lost=np.linspace(0, 3, 801),
    )


def never():
    pytest.fail("computed again what the cache holds")


def only_file(folder):
    (file,) = (folder / "structure_factors").iterdir()
    return file


def test_the_second_call_reads_what_the_first_computed(own_cache):
    cached(SETTINGS, made_up)
    found = cached(SETTINGS, never)
    np.testing.assert_array_equal(found.F, made_up().F)
    assert found.F.dtype == np.float32
    np.testing.assert_array_equal(found.lost, made_up().lost)
    for field in dataclasses.fields(found):
        if field.name not in {"F", "lost"}:
            assert getattr(found, field.name) == getattr(made_up(), field.name), field.name


def test_other_settings_are_computed_on_their_own(own_cache):
    cached(SETTINGS, made_up)
    assert cached(SETTINGS | {"seed": 2}, lambda: made_up(2.0)).F[0, 0, 0] == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda _: b"",
        lambda content: content[:300] + bytes([content[300] ^ 1]) + content[301:],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content + b"\0",
    ],
)
def test_a_damaged_file_is_computed_again_and_repaired(own_cache, damage):
    cached(SETTINGS, made_up)
    file = only_file(own_cache)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert cached(SETTINGS, lambda: made_up(2.0)).F[0, 0, 0] == 2
    assert cached(SETTINGS, never).F[0, 0, 0] == 2


def test_a_folder_that_cannot_be_made_only_costs_the_time(tmp_path, monkeypatch):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    monkeypatch.setenv("DEEPFREAK_CACHE", str(in_the_way))
    assert cached(SETTINGS, made_up).F[0, 0, 0] == 1


def test_a_full_disk_only_costs_the_time_and_leaves_nothing(own_cache, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert cached(SETTINGS, made_up).F[0, 0, 0] == 1
    assert not list((own_cache / "structure_factors").iterdir())


def _fill_cache(barrier):
    barrier.wait()
    for _ in range(20):
        cached(SETTINGS, made_up)


def test_two_processes_at_once_leave_one_whole_file(own_cache):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    workers = [spawn.Process(target=_fill_cache, args=(barrier,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    only_file(own_cache)
    cached(SETTINGS, never)
