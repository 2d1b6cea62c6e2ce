import importlib
import os
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher

import deepfreak
from deepfreak.compiled import SAID, content_hash, folder

RUN = """
import two
print(two.double.py_func.__name__, two.double(3), sum(two.double.stats.cache_hits.values()))
"""
ONE = """
from deepfreak.compiled import njit
FACTOR = 2
WEIGHTS = (1.0, {"x": 2.0}["x"])
@njit(cache=True, nogil=True)
def times(x):
    return FACTOR * x
"""
TWO = """
from deepfreak.compiled import njit
from one import times, WEIGHTS
@njit(cache=True, nogil=True)
def double(x):
    return times(x) + WEIGHTS[1]
"""


@pytest.fixture
def lab(tmp_path):
    (tmp_path / "one.py").write_text(ONE)
    (tmp_path / "two.py").write_text(TWO)
    return tmp_path


def run(lab, *, script=RUN, said=None, **variables):
    """Return what a new process prints, and what on stderr."""
    ours = (SAID, "NUMBA_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"DEEPFREAK_CACHE": str(lab / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {name: str(value) for name, value in variables.items()}
    if said:
        environment[SAID] = said
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=lab,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split(), done.stderr


def compiled_functions():
    for module in pkgutil.walk_packages(deepfreak.__path__, "deepfreak."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Dispatcher) and value.__module__ == module.name:
                yield f"{module.name}.{name}", value


def test_what_every_compiled_function_takes_in_is_known():
    found = dict(compiled_functions())
    assert len(found) > 40
    on_processors = {k: v for k, v in found.items() if type(v).__name__ == "CPUDispatcher"}
    assert [name for name, one in on_processors.items() if not content_hash(one)] == []
    hashes = {content_hash(one) for one in on_processors.values()}
    assert len(hashes) == len(on_processors)


NAMED = """
from typing import NamedTuple
from deepfreak.compiled import njit
class Pair(NamedTuple):
    first: int
    second: int
@njit(cache=True)
def pair(x):
    return Pair(x, 2 * x)
"""


def test_a_named_tuple_is_known_by_its_fields(lab):
    script = "import named\nprint(*named.pair(3), sum(named.pair.stats.cache_hits.values()))"
    (lab / "named.py").write_text(NAMED)
    assert run(lab, script=script)[0] == ["3", "6", "0"]
    assert run(lab, script=script)[0] == ["3", "6", "1"]
    swapped = NAMED.replace("    first: int\n    second: int", "    second: int\n    first: int")
    (lab / "named.py").write_text(swapped)
    assert run(lab, script=script)[0] == ["3", "6", "0"]


def test_nothing_goes_past_our_njit():
    source = Path(deepfreak.__file__).parent
    named = [path.name for path in source.rglob("*.py") if "numba import njit" in path.read_text()]
    assert named == []


def test_machine_code_is_kept_and_found_again(lab):
    first, said = run(lab)
    assert first == ["double", "8.0", "0"]
    assert said == "deepfreak: compiling for this processor, once; up to a minute\n"
    assert run(lab) == (["double", "8.0", "1"], "")
    assert {path.name.split("-")[0] for path in (lab / "cache/compiled").iterdir()} == {
        "one.times",
        "two.double",
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("FACTOR = 2", "FACTOR = 5", "17.0"),
        ("FACTOR * x", "FACTOR * x + 1", "9.0"),
        ('{"x": 2.0}', '{"x": 4.0}', "10.0"),
        ("nogil=True)", "nogil=True, inline='always')", "8.0"),
    ],
)
def test_an_edit_of_another_file_gives_the_new_numbers(lab, before, after, expected):
    run(lab)
    path = lab / "one.py"
    times = path.stat()
    path.write_text(path.read_text().replace(before, after))
    # as after a copy that keeps times, or a clock that was set back
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(lab)[0] == ["double", expected, "0"]


def test_fields_of_a_named_tuple_that_change_places_give_the_new_numbers(lab):
    (lab / "two.py").write_text(
        "from typing import NamedTuple\n"
        "from deepfreak.compiled import njit\n"
        "class Pair(NamedTuple):\n    a: float\n    b: float\n"
        "@njit(cache=True)\ndef first(pair):\n    return pair.a\n"
        "def double(_):\n    return first(Pair(1.0, 2.0))\n"
        "double.py_func, double.stats = first.py_func, first.stats\n"
    )
    assert run(lab)[0] == ["first", "1.0", "0"]
    assert run(lab)[0] == ["first", "1.0", "1"]
    path = lab / "two.py"
    path.write_text(path.read_text().replace("a: float\n    b", "b: float\n    a"))
    assert run(lab)[0] == ["first", "2.0", "0"]


def test_an_edit_while_the_program_runs_does_not_pass_for_what_was_imported(lab):
    edit = "import two, pathlib as p; f = p.Path('one.py'); g = f.read_text()\n"
    edit += "f.write_text(g.replace('FACTOR = 2', 'FACTOR = 5'))" + RUN
    assert run(lab, script=edit)[0] == ["double", "8.0", "0"]
    assert run(lab)[0] == ["double", "17.0", "0"]


def test_an_edit_of_what_is_not_compiled_costs_nothing(lab):
    run(lab)
    (lab / "one.py").write_text("# a comment\n" + ONE + "\nOTHER = 3\n")
    assert run(lab)[0] == ["double", "8.0", "1"]


@pytest.mark.parametrize("place", ["a_file", "a_file/below", "/proc/none"])
def test_without_a_folder_it_is_compiled_each_time(lab, place):
    (lab / "a_file").touch()
    for _ in range(2):
        printed, said = run(lab, DEEPFREAK_CACHE=lab / place)
        assert printed == ["double", "8.0", "0"]
        assert "at every start" in said
        assert "DEEPFREAK_CACHE" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_fills_up_costs_the_time_only(lab):
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
    full += "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)" + RUN
    assert run(lab, script=full)[0] == ["double", "8.0", "0"]
    assert run(lab)[0] == ["double", "8.0", "0"]


def test_a_user_without_a_home_is_served(lab):
    nobody = "import os\nfor name in ('HOME', 'XDG_CACHE_HOME', 'DEEPFREAK_CACHE'):\n"
    nobody += "    os.environ.pop(name, None)\nimport pwd\n"
    nobody += "def unknown(uid): raise KeyError(uid)\npwd.getpwuid = unknown" + RUN
    printed, said = run(lab, script=nobody)
    assert printed == ["double", "8.0", "0"]
    assert "at every start" in said
    assert not (lab / "~").exists()


@pytest.mark.parametrize("damage", [b"", b"x" * 5000, None])
def test_a_damaged_file_is_made_again(lab, damage):
    run(lab)
    for path in (lab / "cache/compiled").iterdir():
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert run(lab)[0] == ["double", "8.0", "0"]
    assert run(lab)[0] == ["double", "8.0", "1"]


def test_what_nobody_used_for_a_month_goes(lab):
    run(lab)
    old = list((lab / "cache/compiled").iterdir())
    a_while_ago = time.time() - 40 * 86_400
    for path in old:
        os.utime(path, (a_while_ago, a_while_ago))
    run(lab)  # this uses one of them
    (lab / "one.py").write_text(ONE.replace("FACTOR = 2", "FACTOR = 3"))
    run(lab)
    left = {path.name for path in (lab / "cache/compiled").iterdir()}
    assert len(left & {path.name for path in old}) == 1
    assert len(left) == 3


def test_numbas_own_choice_of_a_folder_is_respected(lab, monkeypatch):
    run(lab, NUMBA_CACHE_DIR=lab / "numba")
    assert len(list((lab / "numba/deepfreak").iterdir())) == 2
    assert not (lab / "cache").exists()
    monkeypatch.setattr("numba.config.CACHE_DIR", "/there")
    assert folder() == Path("/there/deepfreak")


def test_a_program_that_was_told_does_not_say_it_again(lab):
    assert run(lab, said="1")[1] == ""


def test_of_many_workers_one_says_it(lab):
    (lab / "many.py").write_text(
        "import multiprocessing\n"
        "def work(x):\n    import two\n    return two.double(x)\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(3) as pool:\n"
        "        print(*pool.map(work, [1, 2, 3], chunksize=1))\n"
    )
    script = "import runpy; runpy.run_path('many.py', run_name='__main__')"
    printed, said = run(lab, script=script)
    assert printed == ["4.0", "6.0", "8.0"]
    assert said.count("compiling") == 1
