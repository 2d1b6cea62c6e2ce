"""Functions in a process with limits: their results, and misbehaving functions."""

import ctypes
import gc
import os
import signal
import socket
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import deepfreak.errors
from deepfreak.errors import DeepFreakError, FrameError, InputError, ReadingStoppedError
from deepfreak.isolation import LimitedProcess, Limits
from deepfreak.isolation import process as module

QUICK = Limits(cpu_s=1.0, idle_s=1.0, memory_bytes=256 << 20, file_bytes=1 << 20)


def give(value):
    return value


def fail(name, message):
    raise getattr(deepfreak.errors, name, ValueError)(message)


def compute():
    while True:
        pass


def wait_for_a_pipe(path):
    with open(path, "rb"):  # noqa: PTH123
        pass


def wait_in_a_library():
    ctypes.PyDLL(None).sleep(1000)  # holds the interpreter's lock, as HDF5 does


def take_memory():
    return len([bytearray(1 << 20) for _ in range(2000)])


def take_memory_in_one_piece():
    return int(np.ones(1 << 28).sum())


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def leave():
    os._exit(7)


def fill_a_disk(path):
    Path(path).write_bytes(bytes(2 << 20))


def talk_nonsense():
    # to the socket, as hijacked code would
    for descriptor in range(3, 30):
        try:
            socket.socket(fileno=descriptor).sendall(b"\xff" * 64)
        except OSError:
            continue


def claim(layout):
    from deepfreak.isolation import child

    child._answer = lambda *_: layout


def who():
    return os.getpid()


@pytest.fixture(scope="module")
def process():
    process = LimitedProcess(modules=["tests.unit.isolation.test_process"])
    process.call(give, 1)
    yield process
    process.close()


VALUES = [
    None,
    True,
    -(2**70),
    1.5,
    float("inf"),
    "a name\udcff\n",
    [1, (2.0, "b"), {"c": [None]}],
    (),
    {"a": (1, 2)},
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_plain_values_come_back(process, value):
    assert process.call(give, value) == value
    assert type(process.call(give, value)) is type(value)


@pytest.mark.parametrize("dtype", ["?", "u1", "<u2", ">u2", "<i4", "<f4", "<f8", "<u8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 5), (300, 700)])
def test_arrays_come_back(process, dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    back = process.call(give, {"a": [array, array[::-1] if shape else array]})["a"]
    assert back[0].dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back[0], array)
    np.testing.assert_array_equal(back[1], array[::-1] if shape else array)
    assert back[0].flags.writeable


def test_what_is_no_plain_value_is_refused(process):
    with pytest.raises(InputError, match="TypeError"):
        process.call(give, object)


@pytest.mark.parametrize("name", ["FrameError", "GeometryError", "ModelError"])
def test_its_errors_are_raised_here(process, name):
    with pytest.raises(getattr(deepfreak.errors, name), match=r"^expected this$"):
        process.call(fail, name, "expected this")


def test_other_errors_are_bad_input_of_one_line(process):
    with pytest.raises(InputError) as caught:
        process.call(fail, "ValueError", "of\nsome\0library")
    assert str(caught.value) == "ValueError: of some\\x00library"


def test_a_process_is_asked_again_and_again(process):
    assert process.call(who) == process.call(who) != os.getpid()


@pytest.mark.timing
@pytest.mark.parametrize(
    ("misbehave", "args", "reason"),
    [
        (compute, (), "in 1 s, found one that keeps its reader busy"),
        (wait_in_a_library, (), "one that is waited for longer than 1 s"),
        (wait_for_a_pipe, ("{folder}/pipe",), "leads to a pipe"),
        (take_memory, (), "256 MB of memory"),
        (take_memory_in_one_piece, (), "256 MB of memory"),
        (crash, (), "SIGSEGV"),
        (leave, (), "exit code 7"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_goes_beyond_a_limit_is_stopped_and_the_next_has_its_turn(
    process, tmp_path, misbehave, args, reason
):
    os.mkfifo(tmp_path / "pipe")
    start, generation = time.monotonic(), process.generation
    with pytest.raises(ReadingStoppedError, match=reason) as caught:
        process.call(misbehave, *(one.format(folder=tmp_path) for one in args), limits=QUICK)
    assert time.monotonic() - start < 20
    assert str(caught.value).isprintable()
    assert process.call(give, 3) == 3
    assert process.generation != generation


def test_files_that_are_too_large_are_not_written(process, tmp_path):
    with pytest.raises(InputError, match="File too large"):
        process.call(fill_a_disk, str(tmp_path / "large"), limits=QUICK)
    assert (tmp_path / "large").stat().st_size <= QUICK.file_bytes


@pytest.mark.parametrize(
    "layout",
    [
        b"nonsense",
        b"[1, []]",
        b'[{"a": 1}, []]',
        b'[["dict", 1], []]',
        b'[["dict", ["value", ["array", 1]]], []]',
        b'[["dict", ["value", ["array", 0]]], [["<u2", [99999999, 99999999]]]]',
        b'[["dict", ["value", ["array", 0]]], [["<u2", [-1]]]]',
        b'[["dict", ["value", ["array", 0]]], [["O", [1]]]]',
        b'[["dict", ["value", ["array", 0]]], [["<u2", [1000, 1000]]]]',
        b"[" * 100_000,
        b'[["code", "import os"], []]',
    ],
    ids=range(11),
)
def test_an_answer_that_lies_is_not_believed(process, layout):
    process.call(claim, layout)  # the result of this call is still valid
    with pytest.raises(ReadingStoppedError):
        process.call(give, 3, limits=QUICK)
    assert process.call(give, 3) == 3


def test_nonsense_instead_of_an_answer_ends_the_process(process):
    with pytest.raises(ReadingStoppedError):
        process.call(talk_nonsense, limits=QUICK)
    assert process.call(give, 3) == 3


def test_a_process_that_does_not_start_is_one_line():
    process = LimitedProcess(modules=["no_such_module"])
    with pytest.raises(DeepFreakError, match="does not start"):
        process.call(give, 1)


def test_an_interrupt_leaves_no_answer_behind(process, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    process.call(give, 1)
    monkeypatch.setattr(module._Running, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.call(give, "old")
    monkeypatch.undo()
    assert process.call(give, "new") == "new"


@pytest.mark.timing
def test_another_thread_can_end_a_call(process):
    process.call(give, 1)
    threading.Timer(0.3, process.close).start()
    start = time.monotonic()
    with pytest.raises(ReadingStoppedError):
        process.call(wait_in_a_library, limits=Limits(idle_s=30.0))
    assert time.monotonic() - start < 20


def test_another_thread_can_end_a_start():
    process = LimitedProcess(modules=["numba", "h5py"])
    threading.Timer(0.1, process.close).start()
    with pytest.raises(ReadingStoppedError, match="given up"):
        process.call(wait_in_a_library, limits=Limits(idle_s=30.0))


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    gc.collect()
    before = set(Path("/proc/self/fd").iterdir())
    process = LimitedProcess()
    pid = process.call(who)
    with pytest.raises(ReadingStoppedError):
        process.call(crash)
    pid_after = process.call(who)
    process.close()
    assert list(tmp_path.iterdir()) == []
    assert set(Path("/proc/self/fd").iterdir()) <= before
    for one in (pid, pid_after):
        with pytest.raises(ProcessLookupError):
            os.kill(one, 0)


def test_secrets_of_the_environment_stay_here(monkeypatch):
    monkeypatch.setenv("DEEPFREAK_TOKEN", "a secret")
    process = LimitedProcess()
    assert process.call(os.getenv, "DEEPFREAK_TOKEN") is None
    process.close()


def warn_as_a_library_does():
    warnings.warn("the file is odd", stacklevel=1)


def test_warnings_of_ours_are_said_here_and_those_of_libraries_are_not(process):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        process.call(warn_as_a_library_does)
        process.call(warnings.warn, "of ours")  # as if `child` itself had sent it
    assert [str(one.message) for one in caught] == ["of ours"]


def test_a_frame_error_by_itself_keeps_the_process(process):
    generation = process.generation
    with pytest.raises(FrameError):
        process.call(fail, "FrameError", "expected this")
    assert process.generation == generation


def limit_then_take(more):
    from deepfreak.isolation.child import limit_memory

    limit_memory(more)
    return len(bytes(64 << 20))


def test_a_process_can_limit_its_own_memory():
    process = LimitedProcess(modules=["tests.unit.isolation.test_process"])
    assert process.call(limit_then_take, 256 << 20) == 64 << 20
    with pytest.raises(ReadingStoppedError, match="memory"):
        process.call(limit_then_take, 16 << 20)
    process.close()
