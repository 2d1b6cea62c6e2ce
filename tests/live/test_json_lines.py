import json
import os
import resource

import numpy as np
import pytest

from deepfreak.errors import OutputError
from deepfreak.live.sinks.json_lines import JsonLines
from tests.live.examples import CLASSES, instants, killed, made_rows


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def filled(path, count=5):
    sink = JsonLines(path, classes=CLASSES)
    sink.write(made_rows(1, count))
    sink.close()
    return path.read_bytes()


def test_each_row_is_a_line_with_all_that_is_known(tmp_path):
    path = tmp_path / "records.jsonl"
    sink = JsonLines(path, classes=CLASSES)
    assert sink.last() == 0
    sink.write(made_rows(1, 2))
    sink.write(made_rows(3, 1, truth={"label": "weak", "ice": True}))
    sink.close()
    first, _, third = read(path)
    assert first == {
        "sequence": 1,
        "series": "run-1",
        "number": 0,
        "decision": "keep",
        "label": "blank",
        "probabilities": dict(zip(CLASSES, (0.8, 0.05, 0.05, 0.05, 0.05), strict=True)),
        "p_crystal": 0.1,
        "saturated": False,
        "received": 1.7e9,
        "latency_ms": 20.0,
        "ms": 12.0,
        "judged_without": [],
        "error": None,
        "reasons": [],
        "signs": None,
        "copy": None,
    }
    assert third["truth"] == {"label": "weak", "ice": True}


def test_a_frame_without_a_verdict_is_recorded_with_its_error(tmp_path):
    path = tmp_path / "records.jsonl"
    sink = JsonLines(path, classes=CLASSES)
    fields = {"decision": "unreadable", "label": None, "probabilities": (), "p_crystal": None}
    sink.write(made_rows(1, 1, error="expected 16 bytes, found 3", **fields))
    sink.close()
    (record,) = read(path)
    assert record["probabilities"] == {}
    assert record["label"] is record["p_crystal"] is None
    assert record["error"] == "expected 16 bytes, found 3"


def test_classes_of_any_name_and_numbers_that_json_lacks_are_written(tmp_path):
    path = tmp_path / "records.jsonl"
    sink = JsonLines(path, classes=('100% "good"', "b%d"))
    fields = {"p_crystal": float("nan"), "ms": float("inf")}
    sink.write(made_rows(1, 1, probabilities=(0.25, 0.75), **fields))
    sink.write(made_rows(2, 1, probabilities=(float("nan"), 1.0)))
    with pytest.raises(TypeError):
        sink.write(made_rows(3, 1, probabilities=(0.2, 0.3, 0.5)))
    sink.close()
    first, second = read(path)
    assert first["probabilities"] == {'100% "good"': 0.25, "b%d": 0.75}
    assert first["p_crystal"] is first["ms"] is None
    assert second["probabilities"] == {}


def test_hostile_names_and_truths_stay_one_line_of_strict_json(tmp_path):
    path = tmp_path / "records.jsonl"
    sink = JsonLines(path, classes=CLASSES)
    truth = {"label": "a\nb", "ice": float("nan"), 7: np.float32(1.5), "x": [float("inf"), b"\0"]}
    sink.write(made_rows(1, 1, series='\ud800"\n{"sequence": 9}\n\u2028', truth=truth))
    assert JsonLines.last(sink) == 1
    sink.close()
    (line,) = path.read_bytes().splitlines()
    record = json.loads(line, parse_constant=pytest.fail)
    assert record["series"] == '\ud800"\n{"sequence": 9}\n\u2028'
    assert record["truth"]["ice"] is None


def test_whatever_byte_the_file_was_torn_at_each_row_is_there_once(tmp_path):
    path = tmp_path / "records.jsonl"
    content = filled(path)
    for size in {
        *range(0, len(content), 5),
        *range(30),
        *range(len(content) - 3, len(content) + 1),
    }:
        path.write_bytes(content[:size])
        sink = JsonLines(path, classes=CLASSES)
        assert sink.last() == content[:size].count(b"\n")
        sink.write(made_rows(sink.last() + 1, 6 - sink.last()))
        sink.close()
        assert [record["sequence"] for record in read(path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "content",
    [
        b"file,frame,label\na.cbf,0,weak\n",
        b"no newline",
        b'{"sequence": 3}\n',
        b'{"sequence": true, "series": "", "number": 0, "decision": "", "label": ""}\n',
        b'{"sequence": -1, "series": "", "number": 0, "decision": "", "label": ""}\n',
        b"[" * 100_000 + b"\n",
        b"\x89HDF\r\n\x1a\n" + bytes(5000),
        bytes(5 << 20),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="choose another name") as error:
        JsonLines(path, classes=CLASSES)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == content


def test_a_foreign_end_behind_our_lines_is_refused_too(tmp_path):
    path = tmp_path / "records.jsonl"
    content = filled(path) + b"a note"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="left as it is"):
        JsonLines(path, classes=CLASSES)
    assert path.read_bytes() == content


def test_folders_pipes_and_missing_folders_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none" / "records.jsonl"):
        with pytest.raises(OutputError):
            JsonLines(path, classes=CLASSES)


def test_two_writers_of_one_file_are_refused(tmp_path):
    sink = JsonLines(tmp_path / "records.jsonl", classes=CLASSES)
    with pytest.raises(OutputError, match="another process writes"):
        JsonLines(tmp_path / "records.jsonl", classes=CLASSES)
    sink.close()
    JsonLines(tmp_path / "records.jsonl", classes=CLASSES).close()


def test_rows_of_another_ledger_are_refused(tmp_path):
    path = tmp_path / "records.jsonl"
    content = filled(path)
    sink = JsonLines(path, classes=CLASSES)
    for first in (1, 5, 7):
        with pytest.raises(OutputError, match=f"expected row 6 .* found row {first}"):
            sink.write(made_rows(first, 2))
    sink.close()
    assert path.read_bytes() == content


def test_a_full_disk_leaves_the_file_as_it_was_and_it_goes_on_when_there_is_room(tmp_path):
    path = tmp_path / "records.jsonl"
    sink = JsonLines(path, classes=CLASSES)
    sink.write(made_rows(1, 100))
    content = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) + 1000, limits[1]))
    try:
        with pytest.raises(OutputError, match="left as it was"):
            sink.write(made_rows(101, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == content
    assert sink.last() == 100
    sink.write(made_rows(101, 100))
    sink.close()
    assert [record["sequence"] for record in read(path)] == list(range(1, 201))


def test_a_file_that_was_moved_away_is_noticed(tmp_path):
    path = tmp_path / "records.jsonl"
    sink = JsonLines(path, classes=CLASSES)
    sink.write(made_rows(1, 3))
    path.rename(tmp_path / "rotated.jsonl")
    with pytest.raises(OutputError, match="moved or removed"):
        sink.write(made_rows(4, 3))
    sink.close()


def write_for_ever(report, path):
    sink = JsonLines(path, classes=CLASSES)
    while True:
        report.send(sink.last())
        sink.write(made_rows(sink.last() + 1, 1 + sink.last() % 137))


def test_killed_at_any_instant_no_row_is_lost_or_doubled(tmp_path):
    path = tmp_path / "records.jsonl"
    for seconds in instants(6):
        done = killed(write_for_ever, path, seconds=seconds)[-1]
        sink = JsonLines(path, classes=CLASSES)
        last = sink.last()
        sink.close()
        assert last >= done
        assert [record["sequence"] for record in read(path)] == list(range(1, last + 1))
    assert last > 1000
