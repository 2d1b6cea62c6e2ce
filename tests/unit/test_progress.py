import re

import pytest

from deepfreak import progress as module
from deepfreak.progress import progress


@pytest.mark.parametrize("compiling_s", [0.0, 600.0])
def test_the_time_left_does_not_count_what_came_before_the_first(monkeypatch, capsys, compiling_s):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with progress("simulating", 100) as advance:
        now[0] += compiling_s
        for _ in range(50):
            now[0] += 2
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    for line in lines:
        done, left = map(
            int, re.fullmatch(r"simulating: (\d+) of 100, about (\d+) s left", line).groups()
        )
        assert left == 2 * (100 - done)
