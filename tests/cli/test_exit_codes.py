import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from deepfreak import errors
from deepfreak.cli import BAD_INPUT, INTERRUPTED, OUTPUT_OR_MACHINE, app, main
from deepfreak.cli.command import commands
from deepfreak.cli.frames import ALL_UNREADABLE, SOME_UNREADABLE
from tests.labelled import write_labelled

PAGE = Path(__file__).parents[2] / "docs" / "exit_codes.md"


# What is missing or wrong about the input of each command; `out` is where nothing is in the way.
BAD = [
    ["data", "simulate", "no-such-recipe", "--out", "out"],
    ["data", "simulate", "diffranet", "--structure", "missing.pdb", "--out", "out"],
    ["data", "generate", "no-such-recipe", "--out", "out.h5"],
    ["data", "generate", "diffranet", "--count", "0", "--out", "out.h5"],
    ["data", "join", "missing.h5", "--out", "out.h5"],
    ["data", "randomise", "--count", "2", "--without", "rain", "--out", "out.h5"],
    ["model", "train", "missing.h5", "--out", "out.evidence"],
    ["data", "verify", "missing.h5"],
    ["data", "show", "missing.h5"],
    ["model", "train", "missing.h5", "--out", "out.model"],
    [
        "model",
        "train",
        "a.h5",
        "--classifier",
        "svm",
        "--class-weight",
        "1,0,0,0,0",
        "--out",
        "out.model",
    ],
    ["model", "train", "missing.h5", "--out", "out"],
    ["inspect", "missing.cbf"],
    ["model", "evaluate", "missing.model", "a.h5"],
    ["model", "evaluate", "text.txt", "a.h5"],
    ["classify", "missing.cbf"],
    ["classify", "text.txt"],
    ["classify", "a.h5", "--model", "missing.onnx"],
    ["watch", "missing", "--out", "out"],
    ["listen", "nonsense", "--out", "out"],
    ["live", "beam", "no-such-recipe", "--out", "out"],
    ["live", "replay", "no-such-recipe"],
    ["live", "bench", "--seconds", "0"],
    ["model", "calibrate", "missing.model", "a.h5"],
    ["live", "missing", "missing"],
    ["data", "import", "missing", "--out", "out"],
    ["data", "export", "missing.h5", "--out", "out.zip"],
    ["data", "prepare", "missing.h5", "--out", "out.h5"],
    ["model", "search", "classical", "missing.h5", "--out", "out"],
    ["model", "search", "cnn", "missing.h5", "--out", "out"],
]
# An output that cannot be written, with readable input.
NO_PLACE = [
    ["data", "simulate", "diffranet", "--count", "1", "--out", "text.txt/out"],
    ["data", "generate", "diffranet", "--count", "1", "--out", "nowhere/out.h5"],
    ["data", "generate", "diffranet", "--count", "1", "--out", "a.h5"],
    ["data", "randomise", "--count", "1", "--out", "nowhere/out.h5"],
    ["model", "train", "a.h5", "--out", "nowhere/out.model"],
    ["model", "train", "a.h5", "--out", "nowhere/out.evidence"],
    ["classify", "text.txt", "--out", "nowhere/out.csv"],
    ["watch", ".", "--out", "text.txt/out"],
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_labelled(tmp_path / "a.h5", [0, 1, 2, 3, 4] * 3)
    (tmp_path / "text.txt").write_text("nothing to see")
    return tmp_path


def the_line(capsys):
    """Return the last line on stderr."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    return lines[-1]


@pytest.mark.parametrize("command", BAD, ids=" ".join)
def test_bad_input_is_2_and_one_line(place, command, capsys):
    assert main(command) == BAD_INPUT == 2
    assert the_line(capsys).startswith("deepfreak: ")
    if command[0] not in {"watch", "listen"}:  # a session's folder may stay
        assert not list(place.glob("out*"))


@pytest.mark.parametrize("command", NO_PLACE, ids=" ".join)
def test_no_place_for_the_output_is_1_and_one_line(place, command, capsys):
    assert main(command) == OUTPUT_OR_MACHINE == 1
    assert the_line(capsys).startswith("deepfreak: ")


def test_the_table_names_every_command():
    given = [" ".join(command) for command in BAD]
    rest = [
        " ".join(command)
        for command, _ in commands(app)
        if not any(one.startswith(" ".join(command) + " ") for one in given)
    ]
    # these take no input that could be missing
    assert set(rest) <= {"demo", "data fetch"}


def all_errors(kind=errors.DeepFreakError):
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def raising(monkeypatch, error):
    def fail(**_):
        raise error

    monkeypatch.setattr(app, "main", fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        *((kind("why"), 2 if issubclass(kind, errors.InputError) else 1) for kind in all_errors()),
        (KeyboardInterrupt(), INTERRUPTED),
        (click.Abort(), INTERRUPTED),
        (click.UsageError("why"), 2),
        (OSError(28, "No space left on device", "a.h5"), 1),
        (PermissionError(13, "Permission denied", "a.h5"), 1),
        (MemoryError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_error_has_its_code_and_one_line(monkeypatch, capsys, error, code):
    raising(monkeypatch, error)
    assert main([]) == code
    said = capsys.readouterr().err
    assert said.startswith("deepfreak: ")
    assert said.count("\n") == 1


def test_the_page_lists_the_codes():
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)]
    assert codes == [0, OUTPUT_OR_MACHINE, BAD_INPUT, SOME_UNREADABLE, INTERRUPTED]
    assert ALL_UNREADABLE == BAD_INPUT


def test_a_reader_that_has_enough_is_no_traceback(place):
    with subprocess.Popen(
        [sys.executable, "-m", "deepfreak", "data", "show", "a.h5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        child.stdout.close()  # long before the command has something to say
        said = child.stderr.read().decode()
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert child.returncode == 1


@pytest.mark.parametrize(
    ("command", "begun"),
    [
        (["live", "bench", "--size", "512", "--seconds", "20"], "core-ms"),
        (
            ["live", "replay", "diffranet", "--bind", "tcp://127.0.0.1:*", "--workers", "2"],
            "sending",
        ),
        (
            [
                "model",
                "train",
                "a.h5",
                "--out",
                "fit",
                "--architecture",
                "compact",
                "--epochs",
                "5000",
            ],
            "volumes",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_ctrl_c_is_130_and_quiet(place, command, begun):
    with subprocess.Popen(
        [sys.executable, "-um", "deepfreak", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as child:
        lines = []
        while not (lines and begun in lines[-1]):
            lines.append(child.stdout.readline())
            assert lines[-1], lines
        time.sleep(4)
        os.killpg(child.pid, signal.SIGINT)
        said = child.communicate(timeout=60)[0]
    assert "Traceback" not in said
    # Ctrl-C during an import ends Python by the signal: 130 for a shell
    assert child.returncode in {INTERRUPTED, -signal.SIGINT}, said
    assert "deepfreak: interrupted" in said
    if command[0] == "model":
        kept = (place / "fit" / "checkpoint.safetensors").exists()
        assert ("holds the last checkpoint" in said) == kept


def test_ctrl_c_that_compiled_code_turned_into_another_error_is_130(capsys):
    @click.command()
    def unlucky():
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    assert main([], commands=unlucky) == INTERRUPTED
    assert capsys.readouterr().err == "deepfreak: interrupted\n"
