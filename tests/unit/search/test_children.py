import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepfreak.search.children import (
    CallFailedError,
    Child,
    OverTimeError,
    children,
    outcome_alone,
)

JOBS = "tests.unit.search.jobs:"


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_one_child_answers_call_after_call_whatever_it_prints():
    with Child(JOBS + "echo") as process:
        first = process.call({"a": [1, None, "é"]}, seconds=60)
        second = process.call({}, seconds=60)
    assert first["got"] == {"a": [1, None, "é"]}
    assert first["process"] == second["process"] != os.getpid()
    assert not alive(first["process"])


@pytest.mark.timing
def test_a_call_that_takes_too_long_is_ended_and_the_next_is_answered():
    with Child(JOBS + "sleep") as process:
        process.call({"seconds": 0}, seconds=60)
        start = time.monotonic()
        with pytest.raises(OverTimeError, match=r"stopped after 0\.3 s"):
            process.call({"seconds": 60}, seconds=0.3)
        assert time.monotonic() - start < 30
        assert process.call({"seconds": 0}, seconds=60) == {}


@pytest.mark.timing
def test_a_fit_inside_libsvm_is_ended():
    start = time.monotonic()
    outcome = outcome_alone(JOBS + "endless_svm", {}, 3)
    assert outcome.info == {"timed_out": True}
    assert outcome.error == "stopped after 3 s"
    assert outcome.seconds >= 3
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("signal", r"ended by SIGKILL \(out of memory\?\)"),
        ("exit", "ended with code 3 a last word"),
    ],
)
def test_a_child_that_crashes_is_one_failed_call(how, said):
    with Child(JOBS + "die") as process:
        for _ in range(2):
            with pytest.raises(CallFailedError, match=said):
                process.call({"how": how}, seconds=60)


def test_an_error_is_told_in_one_line():
    outcome = outcome_alone(JOBS + "fail", {"why": "two\nlines"}, 60)
    assert (outcome.error, outcome.info) == ("ValueError: two lines", {})


@pytest.mark.parametrize("why", ["", 0, 7, "no data"])
def test_a_call_that_ends_the_program_has_failed_and_the_child_lives_on(why):
    with Child(JOBS + "leave") as process:
        for _ in range(2):
            with pytest.raises(CallFailedError, match=f"^SystemExit: ?{why}$"):
                process.call({"why": why}, seconds=60)


def test_as_many_trials_are_made_at_once_as_there_are_children():
    with children(JOBS + "outcome", 2) as workers:
        answers = [workers.submit({"i": i}, 60) for i in range(6)]
        assert [answer.result().loss for answer in answers] == list(range(6))
        processes = {answer.result().info["process"] for answer in answers}
    assert 1 <= len(processes) <= 2
    assert not any(alive(process) for process in processes)


@pytest.mark.timing
def test_leaving_does_not_wait_for_what_is_under_way():
    start = time.monotonic()
    with children(JOBS + "sleep", 1) as workers:
        running = workers.submit({"seconds": 60}, 60)
        waiting = workers.submit({"seconds": 60}, 60)
        while not running.running():
            time.sleep(0.01)
        time.sleep(0.2)
    assert time.monotonic() - start < 30
    assert running.result().error == "the search was ended"
    assert waiting.cancelled()


def test_children_do_not_outlive_a_killed_parent(tmp_path):
    program = (
        "from deepfreak.search.children import Child\n"
        f"process = Child({JOBS + 'sleep'!r})\n"
        "process.call({'seconds': 0}, seconds=60)\n"
        "print(process._process.pid, flush=True)\n"
        "process.call({'seconds': 60}, seconds=60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        assert alive(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)
