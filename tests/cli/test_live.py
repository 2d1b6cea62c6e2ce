"""The commands of live screening: what they refuse, and a run each."""

import json

import numpy as np
import pytest

from deepfreak.cli import main
from deepfreak.cli.live_options import Voice
from deepfreak.live.ledger import open_ledger
from deepfreak.live.scores import read_scores
from deepfreak.models import load_model
from tests.live.sessions import made_scores


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    return str(made_scores(tmp_path_factory.mktemp("scores") / "scores.json"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dashboard", "0.0.0.0:0"], "expected a token for a server on '0.0.0.0'"),
        (["--dashboard", "127.0.0.1"], "expected --dashboard HOST:PORT"),
        (["--dashboard", "127.0.0.1:0", "--raster", "20"], "expected --raster ROWSxCOLUMNS"),
        (["--min-hit-recall", "0.99999"], "takes at least 299572 labelled hits to prove"),
        (["--scores", "none.json"], "expected the model's scores in none.json"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, scores, capsys, options, said):
    command = ["listen", "tcp://127.0.0.1:1", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*command, "--scores", scores, *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_address_that_is_none_is_refused(tmp_path, scores, capsys):
    command = ["listen", "detector", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*command, "--scores", scores]) == 2
    assert "expected an address such as tcp://HOST:31001" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_refused(tmp_path, scores, capsys):
    command = ["watch", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*command, "--scores", scores]) == 2
    assert "expected a folder to watch" in capsys.readouterr().err


def test_watching_a_folder_judges_what_is_there_and_goes_on(tmp_path, scores, capsys):
    shots = tmp_path / "shots"
    simulate = ["simulate", "diffranet", "--count", "3", "--format", "cbf", "--out", str(shots)]
    assert main(simulate) == 0
    out = tmp_path / "out"
    command = ["watch", str(shots), "--out", str(out), "--workers", "1", "--scores", scores]
    for _ in range(2):
        assert main([*command, "--until-idle", "1"]) == 0
        assert "recorded 3 " in capsys.readouterr().out
    assert len((out / "verdicts.jsonl").read_text().splitlines()) == 3
    assert main(["account", str(out), "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert (account["recorded"], account["missed"]) == (3, 0)
    assert len(account["series"]) == 3


def test_the_beam_of_a_recipe_is_judged(tmp_path, scores, capsys):
    command = ["beam", "diffranet", "--count", "4", "--out", str(tmp_path / "out")]
    assert main([*command, "--workers", "1", "--scores", scores]) == 0
    assert "received 4, recorded 4" in capsys.readouterr().out
    rows = [json.loads(row) for row in (tmp_path / "out/verdicts.jsonl").read_text().splitlines()]
    assert [row["number"] for row in rows] == [0, 1, 2, 3]
    assert all(row["truth"]["label"] for row in rows)


def test_nobody_listens_to_a_replay(capsys):
    command = ["replay", "diffranet", "--bind", "tcp://127.0.0.1:*", "--count", "1"]
    assert main([*command, "--wait", "0.2", "--workers", "1"]) == 1
    assert "nobody has listened" in capsys.readouterr().err


def test_scores_are_those_of_the_images(tmp_path, capsys):
    data = tmp_path / "data.h5"
    assert main(["generate", "diffranet", "--count", "12", "--seed", "5", "--out", str(data)]) == 0
    out = tmp_path / "scores.json"
    assert main(["score", "default", str(data), "--out", str(out)]) == 0
    assert "--min-hit-recall 0.99: refused" in capsys.readouterr().out
    found = read_scores(out, model=load_model().name)
    assert found.hits + found.empties == 12
    assert found.simulated
    # all hits lie below the highest threshold, and none below the lowest
    assert (np.diff(found.hits_below) >= 0).all()
    assert main(["score", "default", str(data), "--out", str(out)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_an_account_of_something_else_is_refused(tmp_path, capsys):
    assert main(["account", str(tmp_path)]) == 2
    assert "expected a ledger" in capsys.readouterr().err
    (tmp_path / "ledger.sqlite").write_bytes(b"something else" * 100)
    assert main(["account", str(tmp_path)]) == 2
    assert "damaged or foreign" in capsys.readouterr().err


def test_a_ledger_without_frames_has_an_account(tmp_path, capsys):
    with open_ledger(tmp_path / "ledger.sqlite", {"model": "m"}):
        pass
    assert main(["account", str(tmp_path)]) == 0
    assert "recorded 0 (nothing), missed 0" in capsys.readouterr().out


def test_a_flood_of_troubles_is_summed_up(monkeypatch, capsys):
    now = [5.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    say = Voice()
    for number in range(1000):
        say(f"trouble {number}")
    now[0] = 6.5
    say("other")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:10] == [f"deepfreak: trouble {number}" for number in range(10)]
    assert lines[10:] == ["deepfreak: and 990 lines like these", "deepfreak: other"]


def test_a_terminal_that_is_gone_ends_no_run(monkeypatch):
    def gone(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("click.echo", gone)
    Voice()("a line")
