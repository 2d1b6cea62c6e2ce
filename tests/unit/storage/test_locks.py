import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import deepfreak
from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError, OutputError
from deepfreak.live.ledger import open_ledger
from deepfreak.live.sinks.json_lines import GrowingFile
from deepfreak.live.spool import Spool
from deepfreak.search.journal import open_journal
from deepfreak.storage import locks
from deepfreak.storage.draft import open_draft
from deepfreak.storage.locks import opened_alone
from deepfreak.storage.manifest import Format
from tests.labelled import write_labelled

HOLD = """
import fcntl, sys
from deepfreak.storage.locks import opened_alone
from pathlib import Path
if {number}:
    def none(descriptor, operation):
        raise OSError({number}, "none")
    fcntl.flock = none
with opened_alone(Path({path!r}), busy="busy"):
    print("held", flush=True)
    sys.stdin.read()
"""
NO_LOCKS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS]
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")


@pytest.fixture
def held(tmp_path):
    """Start processes that hold a file."""
    started = []

    def hold(number):
        script = HOLD.format(number=number, path=str(tmp_path / "file"))
        child = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        assert child.stdout.readline() == "held\n"
        return child

    yield hold
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def without_locks(monkeypatch):
    def none(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(locks, "_said", set())


@linux
@pytest.mark.parametrize("number", [0, *NO_LOCKS])
def test_a_file_is_held_by_one_process_and_free_when_that_is_killed(
    tmp_path, held, monkeypatch, number
):
    if number:

        def none(descriptor, operation):
            raise OSError(number, "none")

        monkeypatch.setattr(fcntl, "flock", none)
    child = held(number)
    with (
        pytest.raises(OutputError, match="^busy$"),
        opened_alone(tmp_path / "file", busy="busy"),
    ):
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    with opened_alone(tmp_path / "file", busy="busy"):
        pass


@linux
def test_without_locks_one_line_says_what_is_not_kept_out(tmp_path, without_locks, capsys):
    for name in ("a", "b"):
        with opened_alone(tmp_path / name, busy="busy") as descriptor:
            os.write(descriptor, b"x")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"the disk of {tmp_path / 'a'} has no locks: other machines are not prevented" in said


def test_another_failure_is_told_as_it_is(tmp_path, monkeypatch):
    def broken(descriptor, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with (
        pytest.raises(OutputError, match="cannot lock .*Input/output error"),
        opened_alone(tmp_path / "file", busy="busy"),
    ):
        pass


def test_a_file_that_was_removed_by_who_held_it_is_opened_anew(tmp_path, monkeypatch):
    real, path = fcntl.flock, tmp_path / "file"

    def removed_meanwhile(descriptor, operation):
        real(descriptor, operation)
        if path.stat().st_size == 0:
            path.unlink()
            path.write_text("new")

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with opened_alone(path, busy="busy") as descriptor:
        assert os.read(descriptor, 9) == b"new"


def draft(folder):
    return open_draft(folder / "out.h5", {"images": 1}, form=Format("draft", 1))


def search(folder):
    return open_journal(folder / "journal", {"seed": 1})


def ledger(folder):
    return open_ledger(folder / "ledger.sqlite", {"model": "a"})


def spool(folder):
    return Spool(folder / "spool", "session").held()


class growing:  # noqa: N801 -- beside the functions
    def __init__(self, folder):
        self.file = GrowingFile(folder / "verdicts.jsonl")

    def __enter__(self):
        return self.file

    def __exit__(self, *_):
        self.file.close()


@linux
@pytest.mark.parametrize("kind", [draft, search, ledger, spool, growing])
def test_all_that_is_written_alone_is_so_without_locks_too(tmp_path, without_locks, capsys, kind):
    with kind(tmp_path):
        assert "has no locks" in capsys.readouterr().err
        with pytest.raises(OutputError, match="another"), kind(tmp_path):
            pass
    with kind(tmp_path):
        pass


def test_a_ledger_on_a_disk_without_any_locks_says_so(tmp_path, without_locks, monkeypatch):
    def none(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    class Locked(sqlite3.Connection):
        def execute(self, *_):
            raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(fcntl, "lockf", none)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **k, factory=Locked))
    with (
        pytest.raises(OutputError, match="its disk has no locks, which SQLite needs"),
        ledger(tmp_path),
    ):
        pass


NO_FLOCK = """
#include <errno.h>
int flock(int descriptor, int operation) { errno = ENOLCK; return -1; }
"""


@pytest.fixture(scope="module")
def no_flock(tmp_path_factory):
    """A library that disables locks in the process that loads it."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler on Linux")
    folder = tmp_path_factory.mktemp("lock")
    (folder / "lock.c").write_text(NO_FLOCK)
    made = folder / "lock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, folder / "lock.c"], check=True)
    return made


def test_data_sets_are_read_and_made_where_nothing_can_be_locked(tmp_path, no_flock):
    def command(*words):
        done = subprocess.run(
            [sys.executable, "-m", "deepfreak", *words],
            cwd=tmp_path,
            env=os.environ | {"LD_PRELOAD": str(no_flock)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "has no locks" in command(
        "data", "generate", "diffranet", "--count", "4", "--out", "a.h5"
    )
    assert "4 images" in command("data", "show", "a.h5")
    assert "what the manifest says" in command("data", "verify", "a.h5")


def test_a_data_set_that_another_program_has_open_is_read(tmp_path):
    path = write_labelled(tmp_path / "a.h5", [0, 1, 2])
    script = (
        f"import h5py\nwith h5py.File({str(path)!r}, 'r+', locking=True):\n    print(flush=True)"
    )
    script += "\n    input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        with Dataset.open(path) as data:
            assert len(data) == 3
        other.kill()


@pytest.mark.parametrize(
    ("content", "said"), [(b"no HDF5 at all", "not an HDF5 file"), (b"", "not an HDF5 file")]
)
def test_only_a_damaged_data_set_is_called_so(tmp_path, content, said):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(DatasetError, match=said), Dataset.open(tmp_path / "a.h5"):
        pass


def test_no_module_locks_for_itself():
    source = Path(deepfreak.__file__).parent
    locking = [path.name for path in source.rglob("*.py") if "LOCK_EX" in path.read_text()]
    assert locking == ["locks.py"]
