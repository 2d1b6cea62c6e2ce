import math
import subprocess
import sys
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfreak.datasets.executors import worker_processes
from deepfreak.errors import BackendError, OutputError
from deepfreak.search import BOHB, Guidance, Hyperband, Outcome, optimize
from deepfreak.search.journal import open_journal
from deepfreak.search.loop import identity

from .functions import (
    HYPERBAND,
    ITERATIONS,
    SPACE,
    bowl,
    failing,
    leaving,
    sampler,
    slow_bowl,
)

ROOT = Path(__file__).parents[3]


def searched(function=bowl, *, iterations=ITERATIONS, seed=3, guidance=None, **options):
    chosen = {} if guidance is None else {"guidance": guidance}
    return optimize(function, sampler(iterations=iterations, seed=seed, **chosen), **options)


def test_it_finds_the_best():
    best = searched(iterations=30).ranking[0]
    assert (best.settings["kind"], best.budget) == ("bowl", 9)
    assert best.loss < 0.1  # 0 to 2.9 in the whole space


def test_its_suggestions_get_better_than_random_ones():
    drawn = [made for made in searched(iterations=30).trials if made.continue_from is None]
    by_model = [made.loss for made in drawn if made.from_model]
    at_random = [made.loss for made in drawn if not made.from_model]
    assert np.median(by_model) < 0.3 * np.median(at_random)


def test_it_makes_the_evaluations_of_hyperband_and_says_so_as_it_goes():
    done = []
    found = searched(on_trial=done.append)
    assert found.complete
    assert len(found.trials) == len(done) == HYPERBAND.trials(ITERATIONS)


def test_settings_and_seed_stay_and_each_budget_continues_from_the_one_before():
    before = {}
    for made in searched().trials:
        assert made.continue_from == (
            b[-1].budget if (b := before.get(made.configuration)) else None
        )
        before.setdefault(made.configuration, []).append(made)
    assert max(map(len, before.values())) == 3
    for several in before.values():
        assert len({(tuple(made.settings.items()), made.seed) for made in several}) == 1
    assert len({several[0].seed for several in before.values()}) == len(before)


def test_a_function_is_told_what_it_may_continue_from():
    calls = []

    def continuing(trial):
        calls.append((trial.configuration, trial.budget, trial.continue_from))
        return bowl(trial)

    found = searched(continuing)
    assert calls == [(m.configuration, m.budget, m.continue_from) for m in found.trials]


def test_the_seed_decides():
    assert searched() == searched()
    assert searched(seed=4) != searched()


def test_random_fraction_1_is_hyperband_and_uses_no_model():
    found = searched(guidance=Guidance(random_fraction=1))
    assert not any(made.from_model for made in found.trials)
    assert any(made.from_model for made in searched().trials)


def test_what_ends_first_changes_nothing():
    alone = searched(slow_bowl, under_way=4)
    with ThreadPoolExecutor(4) as threads:
        assert searched(slow_bowl, under_way=4, executor=threads) == alone
    with ThreadPoolExecutor(1) as thread:
        assert searched(slow_bowl, under_way=4, executor=thread) == alone


def test_processes_find_what_this_one_finds():
    with worker_processes(2) as executor:
        assert searched(slow_bowl, under_way=2, executor=executor) == searched(
            slow_bowl, under_way=2
        )


def test_failures_count_as_infinite_loss_and_the_search_goes_on(tmp_path):
    found = searched(failing, journal=tmp_path / "journal")
    failed = [made for made in found.trials if made.loss == math.inf]
    assert {made.outcome.error for made in failed} == {
        "ValueError: no such luck",
        "the loss is nan",
    }
    assert len(found.trials) == HYPERBAND.trials(ITERATIONS)
    assert not any(made.outcome.error for made in found.ranking)
    assert searched(failing, journal=tmp_path / "journal") == found


def test_a_function_that_ends_the_program_has_failed():
    found = searched(leaving)
    assert len(found.trials) == HYPERBAND.trials(ITERATIONS)
    failed = [made for made in found.trials if made.loss == math.inf]
    assert {made.outcome.error for made in failed} == {"SystemExit: 0", "SystemExit: 2"}
    with worker_processes(2) as executor:
        assert searched(leaving, executor=executor, under_way=2).ranking


def test_a_search_where_all_fails_ends_with_an_empty_ranking():
    assert searched(lambda *_: 1 / 0).ranking == ()


def test_info_is_kept_as_the_journal_keeps_it(tmp_path):
    def function(trial):
        return Outcome(bowl(trial), {"pair": (1, 2)})

    found = searched(function, journal=tmp_path / "journal")
    assert found.trials[0].outcome.info == {"pair": [1, 2]}
    assert searched(function, journal=tmp_path / "journal") == found


def test_info_that_no_journal_can_keep_is_a_failure():
    made = searched(lambda *_: Outcome(0.0, {"x": object()})).trials[0]
    assert made.outcome.error.startswith("TypeError")


@pytest.mark.parametrize("last", [1, 2, 20])
def test_a_killed_search_resumes_to_the_same(tmp_path, last):
    journal = tmp_path / "journal"
    command = [sys.executable, "-m", "tests.unit.search.functions", str(journal), str(last)]
    killed = subprocess.run(command, cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert journal.read_bytes().count(b"\n") == 1 + last - 1
    calls = []

    def counted(trial):
        calls.append(1)
        return bowl(trial)

    assert searched(counted, journal=journal) == searched()
    assert len(calls) == HYPERBAND.trials(ITERATIONS) - (last - 1)


def test_a_journal_cut_anywhere_resumes_to_the_same_with_several_under_way(tmp_path):
    journal = tmp_path / "journal"
    with ThreadPoolExecutor(3) as threads:
        whole = searched(slow_bowl, under_way=3, executor=threads, journal=journal)
        written = journal.read_bytes()
        for cut in np.random.default_rng(0).integers(1, len(written), size=8):
            journal.write_bytes(written[:cut])
            again = searched(slow_bowl, under_way=3, executor=threads, journal=journal)
            assert again == whole


def test_a_finished_search_goes_on_with_more_iterations(tmp_path):
    journal = tmp_path / "journal"
    searched(iterations=2, journal=journal)
    assert searched(iterations=ITERATIONS, journal=journal) == searched()


def test_after_its_time_a_search_begins_nothing_and_can_go_on(tmp_path):
    journal = tmp_path / "journal"
    begun = searched(iterations=1, journal=journal)
    late = searched(journal=journal, time_limit_s=0)
    assert not late.complete
    assert late.trials == begun.trials
    assert searched(journal=journal) == searched()


def test_drawn_settings_come_from_the_journal(tmp_path):
    """A newer library that draws others must not change a search that has begun."""
    journal = tmp_path / "journal"
    begun = searched(iterations=1, journal=journal, time_limit_s=0)
    with open_journal(journal, identity(sampler(), 1, {})) as book:
        for trial in searched(iterations=1).trials[:9]:
            changed = trial.settings | {"x": 0.125} if trial.number == 0 else trial.settings
            book.add(replace(trial, settings=changed, outcome=Outcome(trial.number)), trial.number)
    assert begun.trials == ()
    again = searched(iterations=1, journal=journal).trials
    assert {m.settings["x"] for m in again if m.configuration == "0-0-0"} == {0.125}
    assert sum(m.configuration == "0-0-0" for m in again) >= 2


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"seed": 5}, "its seed is 3, not 5"),
        ({"under_way": 2}, "its under_way is 1, not 2"),
        ({"guidance": Guidance(candidates=3)}, "its guidance differs"),
        ({"purpose": {"data": "x"}}, "its purpose differs"),
    ],
)
def test_the_journal_of_another_search_is_refused(tmp_path, options, difference):
    journal = tmp_path / "journal"
    searched(iterations=1, journal=journal)
    with pytest.raises(OutputError, match=difference):
        searched(journal=journal, **options)


def test_a_damaged_or_foreign_file_is_refused_and_left_as_it_is(tmp_path):
    journal = tmp_path / "journal"
    searched(iterations=1, journal=journal)
    lines = journal.read_bytes().split(b"\n")
    lines[3] = b"\0" * 20
    for content, message in (
        (b"\n".join(lines), "is damaged .*after 2 complete records"),
        (b"dear diary", "search journal, found something else"),
        (b"dear\ndiary\n", "search journal, found something else"),
        (b'{"kind": "deepfreak BOHB journal 1"}\n', "search journal, found something else"),
    ):
        journal.write_bytes(content)
        with pytest.raises(OutputError, match=message):
            searched(journal=journal)
        assert journal.read_bytes() == content


def test_a_search_with_nothing_under_way_is_refused():
    with pytest.raises(ValueError, match="under_way must be 1 or more, found 0"):
        searched(under_way=0)


def test_two_searches_do_not_share_a_journal(tmp_path):
    journal = tmp_path / "journal"
    errors = []

    def nested(trial):
        if not errors:
            with pytest.raises(OutputError, match="another process is writing") as error:
                searched(journal=journal)
            errors.append(error.value)
        return bowl(trial)

    searched(nested, journal=journal)
    assert errors


def test_a_journal_that_cannot_be_made_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="cannot write .*: No such file or directory"):
        searched(journal=tmp_path / "missing" / "journal")


def test_an_interrupt_ends_the_search_and_the_journal_resumes_it(tmp_path):
    journal = tmp_path / "journal"
    calls = []

    def interrupted(trial):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return bowl(trial)

    with pytest.raises(KeyboardInterrupt):
        searched(interrupted, journal=journal)
    assert searched(journal=journal) == searched()


def test_budgets_survive_the_journal(tmp_path):
    journal = tmp_path / "journal"
    papers = BOHB(space=SPACE, hyperband=Hyperband(min_budget=1, max_budget=50), iterations=1)
    first = optimize(bowl, papers, journal=journal)
    calls = []
    second = optimize(calls.append, papers, journal=journal)
    assert (second, calls) == (first, [])


def test_an_executor_that_stops_ends_the_search_which_resumes(tmp_path):
    def gone(_trial):
        raise CancelledError

    journal = tmp_path / "journal"

    class Stopping(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            return super().submit(gone, arguments[-1])

    with Stopping(1) as executor, pytest.raises(BackendError, match="the same command resumes"):
        searched(journal=journal, executor=executor)
    assert searched(journal=journal) == searched()
