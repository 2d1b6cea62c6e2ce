import json
import os
from pathlib import Path

import pytest

from deepfreak.errors import OutputError
from deepfreak.search.journal import JOURNAL, Session, open_journal
from deepfreak.search.trial import Outcome

PURPOSE = {"seed": 1, "train": {"count": 5}}
PICKS = {
    "extractor": 0, "classifier": 1, "glcm.distances": 30, "glcm.angles_deg": 0,
    "svm.C": 11, "svm.gamma": 0, "svm.class_weight": 2,
}  # fmt: skip
OTHER = {"extractor": 1, "classifier": 1, "lbp.points": 3, "lbp.radius": 0, "svm.C": 0,
         "svm.gamma": 4, "svm.class_weight": 0}  # fmt: skip
DONE = Outcome(state="done", hits=9, total=10, fit_s=1.5, total_s=2.0)
BOUND = Outcome(state="bound", total_s=600.0, reason="stopped after 600 s")


def test_what_was_written_is_read_again(tmp_path):
    with open_journal(tmp_path, PURPOSE) as journal:
        for picks in (PICKS, OTHER, PICKS):
            journal.add(picks)
        journal.finish(1, BOUND)
        journal.finish(0, DONE)
        journal.note(Session(started="a", workers=2, trial_seconds=600.0, wall_s=1.0))
        journal.note(Session(started="a", workers=2, trial_seconds=600.0, wall_s=2.0))
        before = journal.trials
    with open_journal(tmp_path, PURPOSE) as journal:
        assert journal.trials == before
        assert [trial.picks for trial in before] == [PICKS, OTHER, PICKS]
        assert [trial.outcome for trial in before] == [DONE, BOUND, None]
        assert [session.wall_s for session in journal.sessions] == [2.0]
        journal.note(Session(started="b", workers=1, trial_seconds=600.0, wall_s=5.0))
        assert [session.wall_s for session in journal.sessions] == [2.0, 5.0]


def test_it_is_lines_of_json_that_optuna_reads_too(tmp_path):
    import optuna
    from optuna.storages.journal import JournalFileBackend

    with open_journal(tmp_path, PURPOSE) as journal:
        journal.add(PICKS)
        journal.finish(0, DONE)
    for line in (tmp_path / JOURNAL).read_text().splitlines():
        json.loads(line)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
    study = optuna.load_study(study_name=None, storage=storage)
    assert study.best_value == 0.9
    assert study.best_params["glcm.distances"] == "1,2,4,5,8"


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_cut_off(tmp_path, cut):
    with open_journal(tmp_path, PURPOSE) as journal:
        journal.add(PICKS)
        journal.finish(0, DONE)
        whole = (tmp_path / JOURNAL).stat().st_size
        journal.add(OTHER)
    os.truncate(tmp_path / JOURNAL, whole + cut)
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)  # killed while it wrote
    for expected in (1, 2):
        with open_journal(tmp_path, PURPOSE) as journal:
            assert len(journal.trials) == expected
            assert journal.trials[0].outcome == DONE
            journal.add(OTHER)


def test_a_trial_of_which_only_the_outcome_was_written_is_tried_again(tmp_path):
    with open_journal(tmp_path, PURPOSE) as journal:
        journal.add(PICKS)
        journal.finish(0, DONE)
    lines = (tmp_path / JOURNAL).read_text().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text("".join(lines[:-1]))
    with open_journal(tmp_path, PURPOSE) as journal:
        assert journal.trials[0].outcome is None
        journal.finish(0, BOUND)
        assert journal.trials[0].outcome == BOUND


def test_a_journal_of_another_search_is_refused_or_overwritten(tmp_path):
    with open_journal(tmp_path, PURPOSE) as journal:
        journal.add(PICKS)
    with (
        pytest.raises(OutputError, match="of another search .its seed is 1, not 2.: choose"),
        open_journal(tmp_path, PURPOSE | {"seed": 2}),
    ):
        pass
    with (
        pytest.raises(OutputError, match="its train differs"),
        open_journal(tmp_path, PURPOSE | {"train": {"count": 6}}),
    ):
        pass
    with open_journal(tmp_path, PURPOSE | {"seed": 2}, overwrite=True) as journal:
        assert journal.trials == []


@pytest.mark.parametrize("content", ["no json\nat all\n", '{"op_code": 77}\n', "[]\n{}\n"])
def test_a_damaged_journal_is_one_clear_line(tmp_path, content):
    Path(tmp_path / JOURNAL).write_text(content)
    with pytest.raises(OutputError, match="damaged or no journal"), open_journal(tmp_path, PURPOSE):
        pass


def written(folder):
    """Return the lines of a journal with some trials, two of which have ended."""
    with open_journal(folder, PURPOSE) as journal:
        for picks in (PICKS, OTHER, PICKS, OTHER):
            journal.add(picks)
        journal.finish(0, DONE)
        journal.finish(1, BOUND)
    return (folder / JOURNAL).read_bytes().splitlines(keepends=True)


def damaged(kind, lines, number):
    """Return the lines with damage that shows at line `number`, from 1."""
    before, line, after = lines[: number - 1], lines[number - 1], lines[number:]
    return {
        "a blank line": [*before, b"\n", line, *after],
        "two records on a line": [*before, line.rstrip() + b" " + line, *after],
        "zeros": [*before, bytes(40) + b"\n", *after],
        "half a line": [*before, line[:9] + b"\n", *after],
        "a list": [*before, b"[1, 2]\n", *after],
        "an unknown record": [
            *before,
            b'{"op_code": 77}\n',
            *after,
        ],
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "a blank line",
        "two records on a line",
        "zeros",
        "half a line",
        "a list",
        "an unknown record",
    ],
)
@pytest.mark.parametrize("number", [3, 5])
def test_damage_in_the_middle_names_its_line_and_the_way_on(tmp_path, kind, number):
    lines = written(tmp_path)
    path = tmp_path / JOURNAL
    path.write_bytes(b"".join(damaged(kind, lines, number)))
    before = path.read_bytes()
    with (
        pytest.raises(OutputError, match=f"damaged at line {number} .*cut the file off before"),
        open_journal(tmp_path, PURPOSE),
    ):
        pass
    assert path.read_bytes() == before
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: number - 1]))
    with open_journal(tmp_path, PURPOSE) as journal:
        assert len(journal.trials) == number - 3
        journal.add(OTHER)


def test_two_processes_cannot_search_in_one_folder(tmp_path):
    with (
        open_journal(tmp_path, PURPOSE),
        pytest.raises(OutputError, match="another process is searching"),
        open_journal(tmp_path, PURPOSE),
    ):
        pass


def test_importance_is_known_for_what_only_some_trials_asked_for(tmp_path):
    with open_journal(tmp_path, PURPOSE) as journal:
        assert journal.importance() == {}
        for number in range(12):
            picks = PICKS | {"svm.C": number} if number % 2 else OTHER | {"svm.C": number}
            journal.add(picks)
            hits = 50 * (number % 2) + number
            journal.finish(number, Outcome(state="done", hits=hits, total=100))
        importance = journal.importance()
    assert {"extractor", "svm.C", "glcm.distances"} <= set(importance)
    assert sum(importance.values()) == pytest.approx(1)
