import os
from math import inf

import pytest

from deepfreak.errors import OutputError
from deepfreak.search.journal import FORMAT, open_journal, read_trials
from deepfreak.search.trial import Outcome, Trial
from deepfreak.storage.log import open_log

SEARCH = {"seed": 1, "train": {"count": 5}}
DONE = Trial(
    number=0, configuration="0", settings={"distances": (1, 2), "depth": None}, seed=1,
    outcome=Outcome(0.1, {"hits": 9}, seconds=2.0),
)  # fmt: skip
FAILED = Trial(
    number=1, configuration="1", settings={"depth": 3}, seed=1, outcome=Outcome(inf, {}, "no room")
)


def test_what_was_written_is_read_again(tmp_path):
    path = tmp_path / "journal"
    with open_journal(path, SEARCH) as journal:
        journal.add(FAILED, 0)
        journal.add(DONE, 1)
        journal.note({"wall_s": 1.0})
        journal.note({"wall_s": 2.0})
    with open_journal(path, SEARCH) as journal:
        assert journal.trials == {0: (DONE, 1), 1: (FAILED, 0)}
        assert journal.sessions == [{"wall_s": 2.0}]
        assert read_trials(path) == [DONE, FAILED]
        journal.note({"wall_s": 5.0})
    with open_journal(path, SEARCH) as journal:
        assert journal.sessions == [{"wall_s": 2.0}, {"wall_s": 5.0}]


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_cut_off(tmp_path, cut):
    path = tmp_path / "journal"
    with open_journal(path, SEARCH) as journal:
        journal.add(DONE, 0)
        whole = path.stat().st_size
        journal.add(FAILED, 0)
    os.truncate(path, whole + cut)
    for expected in (1, 2):
        with open_journal(path, SEARCH) as journal:
            assert len(journal.trials) == expected
            assert journal.trials[0] == (DONE, 0)
            journal.add(FAILED, 0)


def test_a_journal_of_another_search_is_refused_or_overwritten(tmp_path):
    path = tmp_path / "journal"
    with open_journal(path, SEARCH) as journal:
        journal.add(DONE, 0)
    for other, message in (({"seed": 2}, "its seed is 1, not 2"), ({"train": 6}, "its train")):
        with (
            pytest.raises(OutputError, match=f"{message}.*choose another name"),
            open_journal(path, SEARCH | other),
        ):
            pass
    with open_journal(path, SEARCH | {"seed": 2}, overwrite=True) as journal:
        assert journal.trials == {}


def test_another_version_is_refused_in_one_line(tmp_path):
    path = tmp_path / "journal"
    with open_journal(path, SEARCH):
        pass
    newer = FORMAT._replace(version=FORMAT.version + 1)
    with (
        pytest.raises(OutputError, match=f"expected version {newer.version} .*found version"),
        open_log(path, SEARCH, form=newer),
    ):
        pass


@pytest.mark.parametrize("content", ["no json\nat all\n", '{"op_code": 77}\n', "[]\n{}\n"])
def test_a_foreign_file_is_one_clear_line_or_overwritten(tmp_path, content):
    path = tmp_path / "journal"
    path.write_text(content)
    with (
        pytest.raises(OutputError, match="search journal, found something else"),
        open_journal(path, SEARCH),
    ):
        pass
    assert path.read_text() == content
    with open_journal(path, SEARCH, overwrite=True) as journal:
        assert journal.trials == {}


@pytest.mark.parametrize("number", [1, 3])
def test_damage_in_the_middle_names_its_place_and_the_way_on(tmp_path, number):
    path = tmp_path / "journal"
    with open_journal(path, SEARCH) as journal:
        for _ in range(5):
            journal.add(DONE, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    place = sum(map(len, lines[:number]))
    path.write_bytes(b"".join(lines[:number]) + bytes(40) + b"\n" + b"".join(lines[number + 1 :]))
    with pytest.raises(OutputError, match=f"damaged at byte {place}"), open_journal(path, SEARCH):
        pass
    os.truncate(path, place)
    with open_journal(path, SEARCH) as journal:
        journal.add(FAILED, 0)


def test_two_processes_cannot_write_one_journal(tmp_path):
    path = tmp_path / "journal"
    with open_journal(path, SEARCH):
        for overwrite in (False, True):
            with (
                pytest.raises(OutputError, match="another process is writing"),
                open_journal(path, SEARCH, overwrite=overwrite),
            ):
                pass
