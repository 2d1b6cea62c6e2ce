import json
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from math import inf

import h5py
import numpy as np
import pytest

from deepfreak.datasets.executors import dask_cluster
from deepfreak.errors import BackendError, DatasetError, OutputError
from deepfreak.features import FeatureCache
from deepfreak.models import load_model
from deepfreak.search.children import children
from deepfreak.search.classical import JOURNAL, ClusterWorkers, Plan, search
from deepfreak.search.classical_results import best_of, state_of
from deepfreak.search.images import Images
from deepfreak.search.trial import Outcome
from tests.labelled import write_labelled
from tests.unit.search import jobs
from tests.unit.search.test_images import write_real

QUICK = "tests.unit.search.jobs:quick_score"


def quick(argument, _seconds):
    return jobs.quick_score(argument)


def failed(reason):
    return Outcome(inf, error=reason)


class Threads:
    """Trials that end in any order, each after a moment."""

    def __init__(self, work=quick):
        self.work, self.started = work, []

    def submit(self, argument, seconds):
        self.started.append(argument.settings)
        future = Future()

        def run():
            time.sleep(random.random() / 50)  # noqa: S311 -- no secret
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(self.work(argument, seconds))
            except Exception as error:  # noqa: BLE001 -- passed on
                future.set_exception(error)

        threading.Thread(target=run).start()
        return future


@pytest.fixture
def places():
    """Threads of this process that make trials, with `work` in place of fits."""
    return Threads()


def run(toy, out, cache_folder, made_by=None, *, save=False, **options):
    plan = {"trials": 12, "at_once": 4} | {
        name: options.pop(name) for name in tuple(options) if name in Plan.__dataclass_fields__
    }
    return search(
        Images(data=toy),
        out,
        plan=Plan(**plan),
        cache=FeatureCache(cache_folder),
        made_by=made_by,
        save=save,
        **options,
    )


def told(results):
    """Return what must not depend on how a search came about."""
    return [(trial.settings, state_of(trial), trial.loss) for trial in results.trials]


@pytest.fixture(scope="module")
def undisturbed(toy, cache_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("a") / "out"
    return told(run(toy, out, cache_folder, Threads(), trials=24))


def test_the_trials_do_not_depend_on_the_number_of_workers(
    toy, tmp_path, cache_folder, places, undisturbed
):
    results = run(toy, tmp_path / "out", cache_folder, places, trials=24, workers=4)
    assert told(results) == undisturbed
    assert len(results.trials) == 24
    assert results.best == best_of(results.trials)


def test_a_search_resumes_where_it_was_and_may_grow(
    toy, tmp_path, cache_folder, places, undisturbed
):
    out = tmp_path / "out"

    def interrupt(line):
        if ", 7 of 20" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(toy, out, cache_folder, places, trials=20, workers=2, say=interrupt)
    tried = len(places.started)
    results = run(toy, out, cache_folder, places, trials=20)
    assert told(results) == undisturbed[:20]
    # the seven that had ended are not made again
    assert tried + 20 - 7 - 3 <= len(places.started) <= tried + 20 - 7
    results = run(toy, out, cache_folder, places, trials=24)
    assert told(results) == undisturbed
    assert len(results.sessions) == 3


DRIVER = """
import json
import sys
from pathlib import Path
from deepfreak.features import FeatureCache
from deepfreak.search.children import children
from deepfreak.search.classical import Images, Plan, search

with children({score!r}, int(sys.argv[4])) as workers:
    results = search(
        Images(data=Path(sys.argv[1])),
        Path(sys.argv[2]),
        plan=Plan(trials=24, at_once=4),
        cache=FeatureCache(Path(sys.argv[3])),
        made_by=workers,
        save=False,
        say=lambda line: print(line, flush=True),
    )
(Path(sys.argv[2]) / "results.json").write_text(json.dumps(results.to_json()))
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
    ours = [(trial["settings"], trial["state"]) for trial in found["trials"]]
    assert ours == [(json.loads(json.dumps(each[0])), each[1]) for each in undisturbed]
    assert found["best"]["accuracy"]["value"] == 1 - min(each[2] for each in undisturbed)
    assert len(found["sessions"]) == 2


def test_a_killed_child_costs_its_trial_only(toy, tmp_path, cache_folder):
    with children("tests.unit.search.jobs:score_or_be_killed", 2) as pool:
        results = run(toy, tmp_path / "out", cache_folder, pool, trials=16, workers=2)
    assert len(results.trials) == 16
    errors = [trial.outcome.error for trial in results.trials]
    assert any("ended by SIGKILL" in error for error in errors)
    assert results.counts["done"] >= 8


def test_on_a_cluster_each_trial_has_a_child_of_its_own(toy, tmp_path, cache_folder, undisturbed):
    with ThreadPoolExecutor(2) as executor:
        cluster = ClusterWorkers(executor, QUICK)
        results = run(toy, tmp_path / "out", cache_folder, cluster, trials=4)
    assert told(results) == undisturbed[:4]


def test_a_cluster_that_goes_away_ends_the_search_which_can_go_on(
    toy, tmp_path, cache_folder, places, undisturbed
):
    def gone(_argument, _seconds):
        raise CancelledError

    places.work = gone
    with pytest.raises(BackendError, match="the same command resumes"):
        run(toy, tmp_path / "out", cache_folder, places, trials=24)
    places.work = quick
    assert told(run(toy, tmp_path / "out", cache_folder, places, trials=24)) == undisturbed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # distributed's own
def test_a_dask_cluster_makes_the_same_trials(toy, tmp_path, cache_folder, undisturbed):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        dask_cluster(cluster.scheduler_address) as (executor, _),
    ):
        workers = ClusterWorkers(executor, QUICK)
        results = run(toy, tmp_path / "out", cache_folder, workers, trials=8)
    assert told(results) == undisturbed[:8]


def test_trials_that_run_away_or_fail_are_recorded_and_end_nothing(
    toy, tmp_path, cache_folder, places
):
    def work(argument, seconds):
        if argument.settings["classifier"] == "svm":
            return Outcome(inf, {"timed_out": True}, f"stopped after {seconds:g} s")
        if argument.settings["extractor"] == "lbp":
            return failed("MemoryError: no room")
        return quick(argument, seconds)

    places.work = work
    lines = []
    options = {"trials": 25, "trial_seconds": 7, "say": lines.append, "save": True}
    results = run(toy, tmp_path / "out", cache_folder, places, **options)
    counts = results.counts
    assert counts["timed out"] > 2
    assert counts["failed"] > 2
    assert sum(counts.values()) == 25
    page = (tmp_path / "out" / "report.html").read_text()
    assert "stopped after 7 s" in page
    assert "MemoryError: no room" in page
    assert f"{counts['timed out']} (7 s)" in page
    assert any("reached the time limit" in line for line in lines)
    assert any("failed (MemoryError: no room)" in line for line in lines)
    values = json.loads((tmp_path / "out" / "results.json").read_text())
    assert values["counts"] == counts


def test_no_trial_that_succeeds_is_one_clear_line(toy, tmp_path, cache_folder, places):
    places.work = lambda _argument, _seconds: failed("MemoryError: no room")
    with pytest.raises(DatasetError, match="found none of 12; the first: MemoryError: no room"):
        run(toy, tmp_path / "out", cache_folder, places)


def test_the_best_model_and_its_search_are_saved(toy, tmp_path, cache_folder, places):
    results = run(toy, tmp_path / "out", cache_folder, places, save=True)
    model = load_model(tmp_path / "out" / "best.model")
    assert model.manifest["search"]["trial"] == results.best.number
    assert model.classes == ("blank", "no-crystal", "weak", "good", "strong")
    with h5py.File(toy) as file:
        probabilities = model.probabilities(file["images"][:5])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_images_without_pixels_to_measure_fail_their_trials_only(tmp_path, cache_folder, places):
    path = write_labelled(tmp_path / "thin.h5", np.arange(20) % 5, side=16)
    with h5py.File(path, "a") as file:
        splits = file.create_group("splits")
        splits.attrs["train"], splits.attrs["validation"] = (0, 10), (10, 10)
        valid = np.zeros((20, 16, 16), np.uint8)
        valid[:, :, 3] = 1  # pairs along slow only
        file["valid"] = valid
    results = run(path, tmp_path / "out", cache_folder, places, trials=20)
    assert any("offset" in trial.outcome.error for trial in results.trials)
    assert results.counts["done"] > 0


def test_another_search_in_the_folder_is_refused(toy, tmp_path, cache_folder, places):
    out = tmp_path / "out"
    run(toy, out, cache_folder, places, trials=3)
    begun = len(places.started)
    for changed in ({"seed": 1}, {"at_once": 5}):
        with pytest.raises(OutputError, match="of another run"):
            run(toy, out, cache_folder, places, trials=3, **changed)
    other = write_labelled(tmp_path / "toy.h5", np.arange(100) % 5, seed=9, side=64)
    with h5py.File(other, "a") as file:
        splits = file.create_group("splits")
        splits.attrs["train"], splits.attrs["validation"] = (0, 60), (60, 40)
    with pytest.raises(OutputError, match="of another run .its purpose differs"):
        run(other, out, cache_folder, places, trials=3)
    assert len(places.started) == begun
    again = run(other, out, cache_folder, places, trials=3, overwrite=True, save=True)
    assert len(again.sessions) == 1
    results = json.loads((out / "results.json").read_text())
    assert results["purpose"]["train"]["name"] == "toy.h5"
    (out / JOURNAL).unlink()
    with pytest.raises(OutputError, match=r"exists, but no journal\.log to resume from"):
        run(toy, out, cache_folder, places, trials=3)
    with pytest.raises(OutputError, match="no directory"):
        run(toy, tmp_path / "no" / "out", cache_folder, places)


def test_a_search_on_real_images_learns_two_classes(toy, tmp_path, cache_folder, places):
    real = write_real(tmp_path / "real.h5")
    seen = []

    def work(argument, seconds):
        seen.append(argument.images.real)
        return quick(argument, seconds)

    places.work = work
    results = search(
        Images(data=toy, real=real),
        tmp_path / "out",
        plan=Plan(trials=4),
        cache=FeatureCache(cache_folder),
        made_by=places,
    )
    assert set(seen) == {real}
    assert results.purpose["validation"]["count"] == 24
    model = load_model(tmp_path / "out" / "best.model")
    assert model.classes == ("no-diffraction", "diffraction")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "real.h5, 24 images" in page
    assert "98.58" not in page  # the paper's figure is of synthetic images


def test_what_ends_while_features_are_computed_is_written_down_at_once(toy, tmp_path, places):
    lines = []

    @contextmanager
    def progress(what, total):
        lines.append(what)

        def slowly(_done):
            time.sleep(0.01)

        yield slowly
        lines.append("end")

    options = {"progress": progress, "say": lines.append, "workers": 2}
    results = run(toy, tmp_path / "out", tmp_path / "features", places, **options)
    assert results.seconds["wall"] >= results.seconds["extraction"] > 1
    begin = [index for index, line in enumerate(lines) if line.startswith("features")]
    end = [index for index, line in enumerate(lines) if line == "end"]
    assert len(begin) == len(end) >= 3
    assert any(last - first > 1 for first, last in zip(begin, end, strict=True))
