import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

from deepfreak.errors import InputError, OutputError
from deepfreak.storage.log import open_log, read_log, settings_of
from deepfreak.storage.manifest import Format

FORM = Format("made-up log", 2)
SETTINGS = {"seed": 3, "recipe": {"size": 1}}
RECORDS = [b"first", b"", b"\0\n\xff" * 50_000, b'{"last": 1}']


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


def opened(path, settings=SETTINGS, **options):
    return open_log(path, settings, form=FORM, **options)


def written(path, records=RECORDS, **options):
    with opened(path, **options) as log:
        log.extend(records)
    return path.read_bytes()


def content(path, **options):
    with opened(path, **options) as log:
        return list(log.records())


def test_records_come_back_in_their_order(path):
    with opened(path) as log:
        for record in RECORDS:
            log.append(record)
        assert list(log.records()) == RECORDS
        assert len(log) == len(RECORDS)
    assert content(path) == RECORDS


def test_any_slice_can_be_read(path):
    written(path)
    with read_log(path, form=FORM) as log:
        for start in range(6):
            for stop in (None, *range(6)):
                assert list(log.records(start, stop)) == RECORDS[start:stop]


def test_the_first_line_says_what_the_file_is(path):
    first = written(path).split(b"\n")[0].decode()
    assert '{"kind": "made-up log", "format": 2, "settings": {"seed": 3' in first


def test_a_log_cut_anywhere_is_resumed_behind_its_last_whole_record(path):
    records = [b"one", b"", b"three\nlines\n"]
    whole = written(path, records)
    sizes = [len(written(path.with_name(f"{n}"), records[:n])) for n in range(len(records) + 1)]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        kept = sum(size >= end for end in sizes[1:])
        with opened(path) as log:
            assert list(log.records()) == records[:kept]
            log.extend(records[kept:])
        assert path.read_bytes() == whole


def test_a_flipped_bit_is_noticed_anywhere(path):
    records = [b"one", b"two"]
    whole = written(path, records)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with suppress(OutputError):
            assert content(path) in ([], records[:1])


def test_records_behind_a_damaged_one_are_not_dropped_unless_told(path):
    whole = bytearray(written(path, [b"one", b"two", b"three"]))
    place = whole.index(b"two")
    whole[place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(OutputError, match=r"damaged at byte \d+, after 1 complete") as raised:
        content(path)
    assert path.read_bytes() == whole
    assert content(path, cut_damage=True) == [b"one"]
    path.write_bytes(whole)
    os.truncate(path, int(re.search(r"truncate -s (\d+)", str(raised.value))[1]))
    assert content(path) == [b"one"]


@pytest.mark.parametrize("end", [bytes(5000), b"ffffffff 00000000 ", b"\n" * 30, b"00000003 "])
def test_any_end_that_is_no_record_is_cut_off(path, end):
    whole = written(path)
    path.write_bytes(whole + end)
    assert content(path) == RECORDS
    assert path.read_bytes() == whole


@pytest.mark.parametrize("found", [b"precious\n", b"x", bytes(100), b"00000002 "])
@pytest.mark.parametrize("more", [b"", b"more"])
def test_what_is_no_log_is_left_alone(path, found, more):
    path.write_bytes(found + more)
    if (found, more) == (b"00000002 ", b""):  # as a log that has just been begun
        assert content(path) == []
        return
    with pytest.raises(OutputError, match="expected the format made-up log, found something else"):
        content(path, replace=True)
    assert path.read_bytes() == found + more


def test_another_format_or_version_is_refused_in_one_line(path):
    before = written(path)
    for form, said in (
        (Format("other log", 2), "expected the format other log, found something else"),
        (Format("made-up log", 3), "expected version 3 of the format made-up log, found version 2"),
    ):
        with (
            pytest.raises(OutputError, match=said),
            open_log(path, {}, form=form),
        ):
            pass
        with pytest.raises(InputError), read_log(path, form=form):
            pass
    assert path.read_bytes() == before


def test_other_settings_are_refused_by_the_first_that_differs(path):
    written(path)
    with pytest.raises(
        OutputError, match=r"is the made-up log of another run \(its seed is 3, not 4\); ch"
    ):
        content(path, settings=SETTINGS | {"seed": 4})
    with pytest.raises(OutputError, match=r"\(its recipe differs\)"):
        content(path, settings=SETTINGS | {"recipe": {"size": 2}})
    assert content(path, settings=SETTINGS | {"seed": 4}, replace=True) == []
    assert settings_of(path, form=FORM) == SETTINGS | {"seed": 4}


def test_a_log_may_be_resumed_with_settings_that_may_follow(path):
    written(path)
    with opened(path, settings={"seed": 4}, may_follow=lambda *_: True) as log:
        assert log.settings == SETTINGS
        assert list(log.records()) == RECORDS


def test_cleared_it_keeps_its_settings_only(path):
    written(path)
    with opened(path) as log:
        log.clear()
        log.append(b"new")
    assert content(path) == [b"new"]


def test_one_process_writes_at_a_time(path):
    with opened(path), pytest.raises(OutputError, match=f"another process writes {path}"):
        content(path)
    with opened(path), pytest.raises(OutputError, match="^taken$"):
        content(path, busy="taken")


def test_a_reader_finds_what_was_appended_meanwhile(path):
    with opened(path) as log, read_log(path, form=FORM) as reader:
        assert len(reader) == 0
        log.append(b"one")
        log.append(b"two")
        assert reader.refresh() == 2
        assert list(reader.records(1)) == [b"two"]
        with path.open("ab") as file:
            file.write(b"00000005 ")
        assert reader.refresh() == 0


def test_a_reader_of_nothing_says_so_in_one_line(path):
    with pytest.raises(InputError, match="cannot read"), read_log(path, form=FORM):
        pass
    path.touch()
    with pytest.raises(InputError, match="is empty"), read_log(path, form=FORM):
        pass
    assert settings_of(path, form=FORM) is None


def test_damage_while_it_is_open_is_noticed(path):
    with opened(path) as log:
        log.extend([b"one", b"two"])
        path.write_bytes(path.read_bytes().replace(b"two", b"TWO"))
        with pytest.raises(InputError, match="damaged at record 1 while it was open"):
            list(log.records())


@contextmanager
def room(size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_takes_all_of_the_records_or_none(path):
    with opened(path, left="all is well") as log:
        log.append(b"one")
        with room(log.end + 30), pytest.raises(OutputError, match="File too large; all is well"):
            log.extend([b"two", b"three" * 10])
        assert list(log.records()) == [b"one"]
        log.append(b"two")
    assert content(path) == [b"one", b"two"]


def test_it_is_synced_as_often_as_asked(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for seconds, expected in ((0, 5), (3600, 0), (float("inf"), 0)):
        with opened(path, sync_s=seconds) as log:
            synced.clear()
            for _ in range(5):
                log.append(b"x")
            assert len(synced) == expected
            log.sync()
            assert len(synced) == expected + 1


KILLED = """
import sys
from pathlib import Path
from deepfreak.storage.log import open_log
from deepfreak.storage.manifest import Format
with open_log(Path(sys.argv[1]), {"seed": 3, "recipe": {"size": 1}},
              form=Format("made-up log", 2), sync_s=3600) as log:
    print("open", flush=True)
    while True:
        log.append(b"%d" % len(log))
"""


def test_kill_9_loses_nothing_that_was_appended(path):
    for _ in range(3):
        before = len(content(path))
        command = [sys.executable, "-c", KILLED, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            with read_log(path, form=FORM) as log:
                while len(log) < before + 500:
                    log.refresh()
                seen = len(log)
            process.send_signal(signal.SIGKILL)
        found = content(path)
        assert len(found) >= seen
        assert found == [b"%d" % number for number in range(len(found))]
