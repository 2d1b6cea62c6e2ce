"""The README's Python runs."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

README = Path(__file__).parents[2] / "README.md"


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    frame = np.random.default_rng(0).poisson(6, (512, 512)).astype(np.uint8)
    Image.fromarray(frame).save(tmp_path / "frame.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("master.h5", "frame.png"), "README", "exec"), {})  # noqa: S102
    assert "p_crystal" in capsys.readouterr().out
