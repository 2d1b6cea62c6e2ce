"""All commands: how they speak, and that they check their arguments before they work."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deepfreak.cli import app, main
from deepfreak.cli.command import SHIPPED_MODELS, commands, done
from deepfreak.models.shipped import SHIPPED
from deepfreak.progress import progress
from docs.make_commands import PAGE, page
from tests.labelled import write_labelled

ALL = [(" ".join(words), command) for words, command in commands(app)]
EVERY = pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
IMPERATIVES = [
    "Calibrate", "Classify", "Download", "Evaluate", "Export", "Import", "Join", "Measure",
    "Prepare", "Rehearse", "Report", "Search", "Send", "Show", "Simulate", "Train", "Verify",
]  # fmt: skip


def groups(group=app, *above):
    yield " ".join(above), group
    for name, child in group.commands.items():
        if isinstance(child, click.Group):
            yield from groups(child, *above, name)


def test_the_tree_is_this():
    assert [name for name, _ in ALL] == [
        "classify", "watch", "listen", "inspect", "demo",
        "live replay", "live beam", "live bench", "live missing",
        "data simulate", "data generate", "data randomise", "data verify", "data join",
        "data show", "data prepare", "data import", "data export", "data fetch",
        "model train", "model evaluate", "model calibrate",
        "model search classical", "model search cnn",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "group"), [*groups()], ids=[name or "alone" for name, _ in groups()]
)
def test_a_group_alone_prints_its_help_and_cuts_no_summary(name, group, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(name.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = lines[lines.index("Commands:") + 1 :]
    assert [line.split()[0] for line in shown] == list(group.commands)
    for line, command in zip(shown, group.commands.values(), strict=True):
        summary = command.help.partition("\n\n")[0]
        assert line.endswith(f"  {summary}")
        assert len(summary) <= 60
        assert summary.split()[0].rstrip(",") in IMPERATIVES
        assert summary.count(".") == 1
        assert summary.endswith(".")


@EVERY
def test_every_option_says_what_it_does(name, command):
    with click.Context(command, info_name=name, help_option_names=["-h", "--help"]) as context:
        for parameter in command.get_params(context):
            if isinstance(parameter, click.Option) and not isinstance(parameter.type, click.Choice):
                parameter.get_help_record(context)
                assert parameter.help, parameter.opts


def test_the_reference_is_current():
    assert PAGE.read_text() == page(), "run: python docs/make_commands.py"


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("clasify", "classify"),
        ("generate", "data generate"),
        ("data generat", "data generate"),
        ("train", "model train"),
        ("model fetch", "data fetch"),
    ],
)
def test_an_unknown_command_is_one_line_that_names_the_nearest(typed, nearest, capsys):
    assert main(typed.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"the nearest is `deepfreak {nearest}`")


def test_the_names_of_models_are_those_that_ship():
    assert set(SHIPPED_MODELS) == set(SHIPPED)


# What is wrong with each command; `taken` is a file, `a.h5` a data set.
WRONG = """
classify missing.cbf
classify a.h5 --model missing.onnx
classify a.h5 --format yaml
classify a.h5 --out taken
classify a.h5 --report nowhere/page.html
classify a.h5 --workers 2
watch missing --out out
watch . --out taken/out
watch . --out out --dashboard here
watch . --out out --model missing.onnx
listen tcp://127.0.0.1:1 --out taken
listen tcp://127.0.0.1:1 --out out --protocol v3
listen tcp://127.0.0.1:1 --out out --raster 20
inspect missing.cbf
inspect a.h5 --picture taken
inspect a.h5 --format yaml
demo --out taken
demo --count none
live replay diffranet --truth taken
live replay diffranet --protocol v3
live beam no-such-recipe --out out
live beam diffranet --out taken
live bench --json taken
live bench --size 8M
live missing missing
data simulate no-such-recipe --out out
data simulate diffranet --out taken
data simulate diffranet --format gif --out out
data generate no-such-recipe --out out.h5
data generate diffranet --count 1 --out taken
data generate diffranet --count 1 --out nowhere/out.h5
data generate diffranet --count 1 --shard 3/2 --out out.h5
data randomise --count 1 --out taken
data randomise --count none --out out.h5
data verify missing.h5
data verify a.h5 --sample all
data join missing.h5 --out out.h5
data join a.h5 --out taken
data show missing.h5
data show a.h5 --report taken
data prepare missing --labels a.h5 --out out.h5
data prepare a.h5 --labels missing.csv --out out.h5
data prepare a.h5 --labels a.h5 --out out.h5 --preview taken
data prepare a.h5 --labels a.h5 --out out.h5 --together night
data prepare a.h5 --labels a.h5 --target-mean 9 --out nowhere/out.h5
data prepare a.h5 --labels a.h5 --out out.h5
data import missing --out out
data import a.h5 --out taken
data export missing.h5 --out out
data export a.h5 --out taken
data fetch 4RVY --out taken
data fetch 4RVY --timeout soon
model train missing.h5 --out out.model
model train a.h5 --out taken
model train a.h5 --out out.model --classifier tree
model train a.h5 --out taken --architecture compact
model train a.h5 --out out --architecture D
model train a.h5 --out out.model --epochs 3
model train a.h5 --out out.model --C 3
model evaluate missing.model a.h5
model evaluate default missing.h5
model evaluate default a.h5 --report taken
model calibrate missing.model a.h5 --out out.json
model calibrate default missing.h5:test --out out.json
model calibrate default a.h5 --out taken
model search classical missing.h5 --out out
model search classical a.h5 --out taken
model search classical a.h5 --out out --workers none
model search cnn missing.h5 --out out
model search cnn no-such-recipe --simulate 1 --out out
model search cnn a.h5 --out taken
"""
HEAVY = ("numba", "torch", "sklearn", "scipy", "matplotlib", "optuna", "cv2", "fabio", "zmq")
CHECK = """
import json, sys, time
from deepfreak.cli import main
for command in json.load(sys.stdin):
    began = time.process_time()
    code = main(command)
    heavy = [name for name in {heavy} if name in sys.modules]
    print(json.dumps([command, code, time.process_time() - began, heavy]))
"""


@pytest.mark.timing
def test_what_is_wrong_is_said_at_once_before_anything_is_loaded_or_made(tmp_path):
    write_labelled(tmp_path / "a.h5", [0, 1, 2, 3, 4])
    (tmp_path / "taken").write_text("mine")
    given = [line.split() for line in WRONG.strip().splitlines()]
    names = [" ".join(command) for command in given]
    assert all(any(one.startswith(name) for one in names) for name, _ in ALL)
    child = subprocess.run(
        [sys.executable, "-c", CHECK.format(heavy=HEAVY)],
        input=json.dumps(given), cwd=tmp_path, capture_output=True, text=True, check=True,
        timeout=600,
    )  # fmt: skip
    results = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(results) == len(given)
    for command, code, seconds, heavy in results:
        assert code in {1, 2}, command
        assert not heavy, command
        assert seconds < 1, command
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "taken"]
    lines = child.stderr.splitlines()
    assert len(lines) == len(given)
    assert all(line.startswith("deepfreak: ") for line in lines)


@click.command(cls=type(app.commands["demo"]))
def speaking():
    """Say something at each level."""
    done("wrote a.h5", then="deepfreak data show a.h5")
    logging.getLogger("deepfreak.physics").debug("details")
    logging.getLogger("deepfreak.physics").warning("careful")
    with progress("working", 1) as advance:
        click.echo("quiet" if advance(1) is None and "_lines" not in repr(advance) else "progress")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], ["wrote a.h5", "next: deepfreak data show a.h5", "deepfreak: careful"]),
        (["-q"], ["deepfreak: careful"]),
        (["-v"], ["wrote a.h5", "next: deepfreak data show a.h5", "details", "deepfreak: careful"]),
    ],
)
def test_verbose_and_quiet(options, said, capsys):
    assert main(options, commands=speaking) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines() == said
    assert shown.out == ("quiet\n" if options == ["-q"] else "progress\n")
    assert not logging.getLogger("deepfreak").handlers


COMMAND = re.compile(r"(?:`|^ *|bin/|-m )deepfreak((?: [a-z]+)+)", re.MULTILINE)


def test_every_command_that_documents_name_is_one():
    """In Markdown, in our messages and in comments."""
    root = Path(__file__).parents[2]
    files = [root / "README.md", *root.glob("docs/**/*.md"), *root.glob("scripts/*")]
    files += [*root.glob("src/**/*.py"), *root.glob("src/**/*.toml"), *root.glob("benchmarks/*.py")]
    files.remove(root / "docs/decisions/0019-unsure.md")  # figures of commands of that time
    known = {name for name, _ in (*ALL, *groups()) if name}
    for file in files:
        for words in COMMAND.findall(file.read_text()):
            path = words.split()
            found = [" ".join(path[: n + 1]) for n in range(len(path))]
            assert known & {*found}, (file.name, words)
