import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager

import h5py
import numpy as np
import pytest

from deepfreak.errors import BackendError, DatasetError, OutputError
from deepfreak.features import FeatureCache
from deepfreak.models import load_model
from deepfreak.search import classical
from deepfreak.search.bounded import CallFailedError, OverTimeError, bounded_workers
from deepfreak.search.classical import Plan, search
from deepfreak.search.journal import JOURNAL
from deepfreak.search.results import best_of
from deepfreak.search.trial import Images
from tests.labelled import write_labelled
from tests.unit.search import jobs
from tests.unit.search.test_trial import write_real

QUICK = "tests.unit.search.jobs:quick_score"


class Threads:
    """Trials that end in any order, each after a moment."""

    def __init__(self, work):
        self.work, self.started = work, []

    def submit(self, argument, seconds):
        self.started.append(argument["picks"])
        future = Future()

        def run():
            time.sleep(random.random() / 50)  # noqa: S311 -- no secret
            try:
                future.set_result(self.work(argument, seconds))
            except Exception as error:  # noqa: BLE001 -- passed on
                future.set_exception(error)

        threading.Thread(target=run).start()
        return future


def quick(argument, _seconds):
    return jobs.quick_score(argument)


@pytest.fixture
def places(monkeypatch):
    """Run trials in threads of this process, with `work` in place of training."""
    made = Threads(quick)

    @contextmanager
    def fake(workers, dask=None):
        yield made, workers

    monkeypatch.setattr(classical, "search_workers", fake)
    return made


def leave_out_the_end(patch):
    """Skip the steps after the trials, which take seconds."""
    for name in ("write_results", "train_best", "save_model"):
        patch.setattr(classical, name, lambda *_, **__: None)


@pytest.fixture
def bare(monkeypatch):
    leave_out_the_end(monkeypatch)


def run(toy, out, cache_folder, **options):
    plan = {"trials": 12, "at_once": 4} | {
        name: options.pop(name) for name in tuple(options) if name in Plan.__dataclass_fields__
    }
    return search(
        Images(data=toy), out, plan=Plan(**plan), cache=FeatureCache(cache_folder), **options
    )


def told(results):
    """Return what must not depend on interruptions or workers."""
    return [
        (dict(trial.picks), trial.outcome.state, trial.outcome.hits) for trial in results.trials
    ]


@pytest.fixture(scope="module")
def undisturbed(toy, cache_folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:

        @contextmanager
        def fake(workers, dask=None):
            yield Threads(quick), workers

        patch.setattr(classical, "search_workers", fake)
        leave_out_the_end(patch)
        return told(run(toy, tmp_path_factory.mktemp("a") / "out", cache_folder, trials=24))


def test_the_trials_do_not_depend_on_the_number_of_workers(
    toy, tmp_path, cache_folder, places, undisturbed, bare
):
    results = run(toy, tmp_path / "out", cache_folder, trials=24, workers=4)
    assert told(results) == undisturbed
    assert len(results.trials) == 24
    assert results.best == best_of(results.trials)


def test_a_search_goes_on_where_it_was_and_may_grow(
    toy, tmp_path, cache_folder, places, undisturbed, bare
):
    stop = 9

    def interrupted(argument, _seconds):
        if len(places.started) > stop:
            raise KeyboardInterrupt
        return jobs.quick_score(argument)

    class Interrupting(Threads):
        def submit(self, argument, seconds):
            if len(self.started) == stop:
                raise KeyboardInterrupt
            return super().submit(argument, seconds)

    places.submit = Interrupting.submit.__get__(places)
    places.__class__ = Interrupting
    with pytest.raises(KeyboardInterrupt):
        run(toy, tmp_path / "out", cache_folder, trials=20, workers=2)
    places.__class__ = Threads
    del places.submit
    tried = len(places.started)
    results = run(toy, tmp_path / "out", cache_folder, trials=20)
    assert told(results) == undisturbed[:20]
    # running trials, and trials not started
    assert tried + 11 <= len(places.started) <= tried + 13
    results = run(toy, tmp_path / "out", cache_folder, trials=24)
    assert told(results) == undisturbed
    assert len(results.sessions) == 3


DRIVER = """
import json
import sys
from pathlib import Path
from deepfreak.features import FeatureCache
from deepfreak.search import classical
from deepfreak.search.trial import Images

classical.SCORE = {score!r}
classical.train_best = classical.save_model = lambda *_, **__: None
classical.write_results = lambda out, results: (out / "results.json").write_text(
    json.dumps(results.to_json())
)
classical.search(
    Images(data=Path(sys.argv[1])),
    Path(sys.argv[2]),
    plan=classical.Plan(trials=24, at_once=4),
    cache=FeatureCache(Path(sys.argv[3])),
    workers=int(sys.argv[4]),
    say=lambda line: print(line, flush=True),
)
"""


def test_a_search_survives_kill_9(toy, tmp_path, cache_folder, undisturbed):
    out = tmp_path / "out"
    command = [sys.executable, "-c", DRIVER.format(score=QUICK), toy, out, cache_folder]
    with subprocess.Popen([*map(str, command), "2"], stdout=subprocess.PIPE, text=True) as process:
        for _ in range(7):
            assert process.stdout.readline().startswith("trial ")
        process.send_signal(signal.SIGKILL)
    assert not (out / "results.json").exists()
    subprocess.run([*map(str, command), "1"], check=True, stdout=subprocess.DEVNULL)
    found = json.loads((out / "results.json").read_text())
    ours = [
        (trial["picks"], trial["state"], trial["accuracy"]["hits"] if trial["accuracy"] else 0)
        for trial in found["trials"]
    ]
    assert ours == undisturbed
    assert len(found["sessions"]) == 2


def test_a_killed_worker_costs_its_trial_only(toy, tmp_path, cache_folder, monkeypatch, bare):
    monkeypatch.setattr(classical, "SCORE", QUICK)
    with bounded_workers(QUICK, 2) as pool:

        @contextmanager
        def kept(workers, dask=None):
            yield pool, workers

        monkeypatch.setattr(classical, "search_workers", kept)

        def kill_one(line):
            if line.startswith("trial") and ", 3 of" in line:
                child = pool._processes[0]._child
                os.kill(child.pid, signal.SIGKILL)

        results = run(toy, tmp_path / "out", cache_folder, trials=16, workers=2, say=kill_one)
    assert len(results.trials) == 16
    assert all(trial.outcome is not None for trial in results.trials)
    assert results.counts["done"] >= 8


def test_on_a_cluster_each_trial_has_a_child_of_its_own(
    toy, tmp_path, cache_folder, monkeypatch, undisturbed, bare
):
    monkeypatch.setattr(classical, "SCORE", QUICK)
    with ThreadPoolExecutor(2) as executor:

        @contextmanager
        def cluster(address):
            assert address == "tcp://somewhere"
            yield executor, 2

        monkeypatch.setattr(classical, "dask_cluster", cluster)
        results = run(toy, tmp_path / "out", cache_folder, trials=4, dask="tcp://somewhere")
    assert told(results) == undisturbed[:4]


def test_a_cluster_that_goes_away_ends_the_search_which_can_go_on(
    toy, tmp_path, cache_folder, places, undisturbed, bare
):
    def gone(_argument, _seconds):
        raise CancelledError

    places.work = gone
    with pytest.raises(BackendError, match="scheduler has gone"):
        run(toy, tmp_path / "out", cache_folder, trials=24)
    places.work = quick
    assert told(run(toy, tmp_path / "out", cache_folder, trials=24)) == undisturbed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # distributed's own
def test_a_dask_cluster_makes_the_same_trials(
    toy, tmp_path, cache_folder, monkeypatch, undisturbed, bare
):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(classical, "SCORE", QUICK)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
    ) as cluster:
        address = cluster.scheduler_address
        results = run(toy, tmp_path / "out", cache_folder, trials=8, dask=address)
    assert told(results) == undisturbed[:8]


def test_trials_that_run_away_or_fail_are_recorded_and_end_nothing(
    toy, tmp_path, cache_folder, places
):
    def work(argument, seconds):
        if argument["picks"]["classifier"] == 1:
            raise OverTimeError(f"stopped after {seconds:g} s")
        if argument["picks"]["extractor"] == 1:
            raise CallFailedError("MemoryError: no room")
        return jobs.quick_score(argument)

    places.work = work
    lines = []
    results = run(toy, tmp_path / "out", cache_folder, trials=25, trial_seconds=7, say=lines.append)
    counts = results.counts
    assert counts["bound"] > 2
    assert counts["failed"] > 2
    assert sum(counts.values()) == 25
    page = (tmp_path / "out" / "report.html").read_text()
    assert "stopped after 7 s" in page
    assert "MemoryError: no room" in page
    assert f"{counts['bound']} (7 s)" in page
    assert any("hit the bound" in line for line in lines)
    assert any("failed (MemoryError: no room)" in line for line in lines)
    values = json.loads((tmp_path / "out" / "results.json").read_text())
    assert values["counts"] == counts


def test_no_trial_that_ends_is_one_clear_line(toy, tmp_path, cache_folder, places, bare):
    def work(_argument, _seconds):
        raise CallFailedError("MemoryError: no room")

    places.work = work
    with pytest.raises(DatasetError, match="found none of 12; the first: MemoryError: no room"):
        run(toy, tmp_path / "out", cache_folder)


def test_the_best_model_and_its_search_are_saved(toy, tmp_path, cache_folder, places):
    results = run(toy, tmp_path / "out", cache_folder)
    model = load_model(tmp_path / "out" / "best.skops")
    assert model.manifest["search"]["trial"] == results.best.number
    assert model.classes == ("blank", "no-crystal", "weak", "good", "strong")
    with h5py.File(toy) as file:
        probabilities = model.probabilities(file["images"][:5])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_images_without_pixels_to_measure_fail_their_trials_only(
    tmp_path, cache_folder, places, bare
):
    path = write_labelled(tmp_path / "thin.h5", np.arange(20) % 5, side=16)
    with h5py.File(path, "a") as file:
        splits = file.create_group("splits")
        splits.attrs["train"], splits.attrs["validation"] = (0, 10), (10, 10)
        valid = np.zeros((20, 16, 16), np.uint8)
        valid[:, :, 3] = 1  # pairs along slow only
        file["valid"] = valid
    results = run(path, tmp_path / "out", cache_folder, trials=20)
    failed = [trial for trial in results.trials if trial.outcome.state == "failed"]
    assert any("offset" in trial.outcome.reason for trial in failed)
    assert results.counts["done"] > 0


def test_another_search_in_the_folder_is_refused(toy, tmp_path, cache_folder, places):
    out = tmp_path / "out"
    run(toy, out, cache_folder, trials=3)
    begun = len(places.started)
    for changed in ({"seed": 1}, {"at_once": 5}):
        with pytest.raises(OutputError, match="of another search"):
            run(toy, out, cache_folder, trials=3, **changed)
    other = write_labelled(tmp_path / "toy.h5", np.arange(100) % 5, seed=9, side=64)
    with h5py.File(other, "a") as file:
        splits = file.create_group("splits")
        splits.attrs["train"], splits.attrs["validation"] = (0, 60), (60, 40)
    with pytest.raises(OutputError, match="of another search .its train differs"):
        run(other, out, cache_folder, trials=3)
    assert len(places.started) == begun
    assert len(run(other, out, cache_folder, trials=3, overwrite=True).sessions) == 1
    assert json.loads((out / "results.json").read_text())["purpose"]["data"] == "toy.h5"
    (out / JOURNAL).unlink()
    with pytest.raises(OutputError, match=r"exists, but no journal\.log to go on with"):
        run(toy, out, cache_folder, trials=3)
    with pytest.raises(OutputError, match="no folder"):
        run(toy, tmp_path / "no" / "out", cache_folder)


def test_a_search_on_real_images_learns_two_classes(toy, tmp_path, cache_folder, places):
    real = write_real(tmp_path / "real.h5")
    seen = []

    def work(argument, _seconds):
        seen.append(argument["real"])
        return jobs.quick_score(argument)

    places.work = work
    results = search(
        Images(data=toy, real=real),
        tmp_path / "out",
        plan=Plan(trials=4),
        cache=FeatureCache(cache_folder),
    )
    assert set(seen) == {str(real)}
    assert results.purpose["validation"]["count"] == 24
    model = load_model(tmp_path / "out" / "best.skops")
    assert model.classes == ("no-diffraction", "diffraction")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "real.h5, 24 images" in page
    assert "98.58" not in page  # the paper's figure is of synthetic images


def test_what_ends_while_features_are_computed_is_written_down_at_once(toy, tmp_path, places, bare):
    lines = []

    @contextmanager
    def progress(what, total):
        lines.append(what)

        def slowly(_done):
            time.sleep(0.01)

        yield slowly
        lines.append("end")

    results = run(
        toy, tmp_path / "out", tmp_path / "features", progress=progress, say=lines.append, workers=2
    )
    assert results.seconds["wall"] >= results.seconds["extraction"] > 1
    begin = [index for index, line in enumerate(lines) if line.startswith("features")]
    end = [index for index, line in enumerate(lines) if line == "end"]
    assert len(begin) == len(end) >= 3
    assert any(last - first > 1 for first, last in zip(begin, end, strict=True))


def test_seconds_of_a_trial_without_a_result_are_those_that_it_took(
    toy, tmp_path, cache_folder, places, bare
):
    def work(argument, _seconds):
        if argument["picks"]["classifier"] == 1:
            time.sleep(0.2)
            raise CallFailedError("no")
        return jobs.quick_score(argument)

    places.work = work
    results = run(toy, tmp_path / "out", cache_folder)
    failed = [trial for trial in results.trials if trial.outcome.reason == "no"]
    assert failed
    assert all(0.2 <= trial.outcome.total_s < 60 for trial in failed)
