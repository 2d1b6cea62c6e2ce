import os
import time

import numpy as np
import pytest

from deepfreak.storage.cache import KeyedCache, key_of


@pytest.fixture
def cache(tmp_path):
    return KeyedCache(tmp_path / "made" / "here", ".bin")


def test_what_was_stored_comes_back(cache):
    cache.store("a", b"content")
    cache.store("b", b"")
    assert [cache.load(key) for key in "abc"] == [b"content", b"", None]


def test_keys_tell_settings_apart_and_not_their_order():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1}) != key_of({"a": 1, "b": [3]})


def test_a_file_with_any_byte_changed_or_missing_counts_as_missing(cache):
    cache.store("a", b"content")
    (path,) = cache.folder.iterdir()
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cache.load("a") is None
        path.write_bytes(whole[:place])
        assert cache.load("a") is None
    cache.store("a", b"content")
    assert cache.load("a") == b"content"


def test_a_file_in_anothers_place_counts_as_missing(cache):
    cache.store("a", b"content")
    (path,) = cache.folder.iterdir()
    path.rename(path.with_name("b.bin"))
    assert cache.load("b") is None


def test_arrays_come_back_by_name(cache):
    arrays = {"x": np.arange(6.0).reshape(2, 3), "text": np.array("words")}
    cache.store_arrays("a", arrays)
    found = cache.load_arrays("a")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert cache.load_arrays("b") is None


def test_without_a_folder_nothing_is_kept():
    cache = KeyedCache(None, ".bin")
    cache.store("a", b"content")
    assert cache.load("a") is None


def test_a_folder_that_cannot_be_written_costs_only_the_time(tmp_path):
    (tmp_path / "file").touch()
    cache = KeyedCache(tmp_path / "file", ".bin")
    cache.store("a", b"content")
    assert cache.load("a") is None


def test_a_full_disk_leaves_nothing(cache, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    cache.store("a", b"content")
    assert list(cache.folder.iterdir()) == []


def test_what_was_not_used_for_long_is_removed(tmp_path):
    long_ago = time.time() - 40 * 86_400
    cache = KeyedCache(tmp_path, ".bin", max_days_unused=30)
    for name in ("used.bin", "unused.bin", ".0123.killed.bin", "foreign.txt"):
        (tmp_path / name).touch()
    KeyedCache(tmp_path, ".bin").store("used", b"content")
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago, long_ago))
    assert cache.load("used") == b"content"
    cache.store("new", b"content")
    assert {path.name for path in tmp_path.iterdir()} == {"used.bin", "new.bin", "foreign.txt"}
