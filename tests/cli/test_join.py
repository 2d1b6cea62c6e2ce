"""`deepfreak data join`: one file of shards."""

from pathlib import Path

import pytest

from deepfreak.cli import main
from deepfreak.datasets import generate
from deepfreak.physics.experiment import Experiment
from tests.unit.datasets.conftest import SPLITS, made, small

__all__ = ["made", "small"]  # fixtures


def test_shards_are_joined_and_a_missing_one_is_one_line(
    small: Experiment, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shards = [tmp_path / f"{k}.h5" for k in (1, 2)]
    for k, path in enumerate(shards, start=1):
        generate(small, count=10, seed=3, shard=(k, 2), splits=SPLITS, out=path)
    out = tmp_path / "out.h5"
    assert main(["data", "join", *map(str, shards), "--out", str(out)]) == 0
    assert out.read_bytes() == made.read_bytes()
    assert "10 images of 2 shards" in capsys.readouterr().err
    assert main(["data", "join", str(shards[1]), "--out", str(tmp_path / "half.h5")]) == 2
    assert capsys.readouterr().err == (
        "deepfreak: no shard with images 0 to 4; generate it first\n"
    )
    assert main(["data", "join", *map(str, shards), "--out", str(out)]) == 1
    assert "exists already" in capsys.readouterr().err
