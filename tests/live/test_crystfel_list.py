import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from deepfreak.errors import OutputError
from deepfreak.live.messages import HitCopy, LedgerRow
from deepfreak.live.sinks.crystfel_list import MAX_LINE_LENGTH, CrystFELList
from tests.live.examples import instants, killed, made_outcome, made_rows


def as_crystfel_reads(path):
    """Return (file, event) of each line, after `read_prefixed_filename` of its im-sandbox.c."""
    found = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        assert 0 < len(line) <= MAX_LINE_LENGTH
        place = line.rfind(b" ")
        if place > 2 and b"//" in line[place:]:
            found.append((line[:place].decode("utf-8", "surrogateescape"), line[place + 1 :]))
        else:
            found.append((line.decode(), None))
    return found


def listed(tmp_path, *outcomes, **options):
    path = tmp_path / "hits.lst"
    sink = CrystFELList(path, **options)
    sink.write([LedgerRow(sequence=n + 1, outcome=each) for n, each in enumerate(outcomes)])
    sink.close()
    return as_crystfel_reads(path)


def lines_of(rows):
    """Return what the list of these rows of stream run-1 is."""
    kept = [row.outcome.number for row in rows if row.outcome.decision == "keep"]
    return b"".join(b"run-1 //%d\n" % number for number in kept)


@pytest.mark.parametrize(("decision", "places"), [("keep", (0, 5)), ("unsure", (2,))])
def test_only_frames_of_its_decision_are_listed_in_order(tmp_path, decision, places):
    outcomes = [
        made_outcome(number, series="/data/a.h5", decision=each)
        for number, each in enumerate(
            ["keep", "discard", "unsure", "unreadable", "dropped", "keep"]
        )
    ]
    found = listed(tmp_path, *outcomes, decision=decision)
    assert found == [("/data/a.h5", b"//%d" % place) for place in places]


def test_the_frame_of_a_file_of_one_has_the_empty_event(tmp_path):
    names = ("/data/run 7/image_0001.cbf", "/data/b.CBF.gz", "/data/c.cxi", "stream.cbf-2024")
    outcomes = [made_outcome(0, series=name, decision="keep") for name in names]
    events = [b"//", b"//", b"//0", b"//0"]
    assert listed(tmp_path, *outcomes) == list(zip(names, events, strict=True))


def test_a_copied_frame_is_listed_where_its_copy_lies(tmp_path):
    copy = HitCopy("hits/hits-00001.h5", 17)
    found = listed(
        tmp_path,
        made_outcome(3, decision="keep", copy=copy),
        made_outcome(6, decision="keep"),
    )
    assert found == [(str(tmp_path / "hits" / "hits-00001.h5"), b"//17"), ("run-1", b"//6")]


def test_a_copy_is_listed_when_its_file_is_whole_and_nothing_behind_it_before(tmp_path):
    path = tmp_path / "hits.lst"
    drafts = [tmp_path / f".hits-0000{number}.h5.draft" for number in range(4)]
    for draft in drafts:
        draft.touch()

    def copied(first, count):
        rows = made_rows(first, count)
        copies = [
            HitCopy(f"hits-0000{row.outcome.number // 6}.h5", row.outcome.number) for row in rows
        ]
        return [
            replace(row, outcome=replace(row.outcome, copy=copy))
            for row, copy in zip(rows, copies, strict=True)
        ]

    sink = CrystFELList(path)
    for first in range(1, 19, 3):
        sink.write(copied(first, 3))
    assert sink.last() == 18
    assert path.read_bytes() == b""
    drafts[0].unlink()
    sink.write(copied(19, 1))
    events = [event for _, event in as_crystfel_reads(path)]
    assert events == [b"//0", b"//3"]
    # killed here: waiting frames arrive again
    sink._file.close()
    sink = CrystFELList(path)
    assert sink.last() == 6
    sink.write(copied(7, 13))
    drafts[1].unlink()
    drafts[2].unlink()
    sink.close()  # as at the end of a session, when the last file has been made
    assert [event for _, event in as_crystfel_reads(path)] == [
        b"//0",
        b"//3",
        b"//6",
        b"//9",
        b"//12",
        b"//15",
    ]


def test_a_name_can_neither_begin_a_line_nor_end_one(tmp_path):
    names = ("a\n/etc/passwd //1\r", "\x1b[2Jb\x85", "\ud800c", "dir/d\udce9")
    outcomes = [made_outcome(1, series=name, decision="keep") for name in names]
    found = listed(tmp_path, *outcomes)
    assert found[:3] == [
        ("a%0A/etc/passwd //1%0D", b"//1"),
        ("%1B[2Jb%85", b"//1"),
        ("\\ud800c", b"//1"),
    ]
    assert found[3] == ("dir/d\udce9", b"//1")  # the name of a file that is no UTF-8, as it is


def test_a_line_longer_than_crystfel_reads_is_counted_and_left_out(tmp_path):
    sink = CrystFELList(tmp_path / "hits.lst")
    fits = "x" * (MAX_LINE_LENGTH - len(" //7"))
    for sequence, name in enumerate((fits, fits + "x"), start=1):
        outcome = made_outcome(7, series=name, decision="keep")
        sink.write([LedgerRow(sequence=sequence, outcome=outcome)])
    sink.close()
    assert sink.skipped == 1
    assert as_crystfel_reads(tmp_path / "hits.lst") == [(fits, b"//7")]


def test_it_goes_on_behind_rows_that_were_not_kept(tmp_path):
    path = tmp_path / "hits.lst"
    sink = CrystFELList(path)
    sink.write(made_rows(1, 10, decision="discard"))
    sink.close()
    assert path.read_bytes() == b""
    sink = CrystFELList(path)
    assert sink.last() == 10
    sink.write(made_rows(11, 3))
    sink.close()
    assert path.read_bytes() == lines_of(made_rows(11, 3))


def test_torn_anywhere_behind_what_was_stated_it_is_completed(tmp_path):
    path = tmp_path / "hits.lst"
    sink = CrystFELList(path)
    sink.write(made_rows(1, 9))
    before = path.stat().st_size
    sink.write(made_rows(10, 9))
    sink.close()
    whole = path.read_bytes()
    for size in range(before, len(whole) + 1):
        path.write_bytes(whole[:size])
        sink = CrystFELList(path)
        assert sink.last() == 18
        sink.close()
        assert path.read_bytes() == whole


def test_a_removed_list_is_made_again_from_the_first_row(tmp_path):
    path = tmp_path / "hits.lst"
    sink = CrystFELList(path)
    sink.write(made_rows(1, 9))
    sink.write(made_rows(10, 9))
    sink.close()
    path.unlink()
    sink = CrystFELList(path)
    assert sink.last() == 0
    sink.write(made_rows(1, 18))
    sink.close()
    assert path.read_bytes() == lines_of(made_rows(1, 18))


@pytest.mark.parametrize("change", ["foreign", "shorter", "longer", "other end", "position"])
def test_a_list_that_is_not_ours_is_refused_and_left_alone(tmp_path, change):
    path = tmp_path / "hits.lst"
    position = tmp_path / "hits.lst.position"
    sink = CrystFELList(path)
    sink.write(made_rows(1, 9))
    sink.write(made_rows(10, 9))
    sink.close()
    content = path.read_bytes()
    if change == "foreign":
        position.unlink()
    elif change == "shorter":
        path.write_bytes(content[:5])
    elif change == "longer":
        path.write_bytes(content + b"mine.h5 //1\n")
    elif change == "other end":
        path.write_bytes(content[:-3] + b"9\n")
    else:
        position.write_text('{"kind": "deepfreak list position 1", "sequence": "9"}')
    changed = path.read_bytes()
    with pytest.raises(OutputError, match="made again") as error:
        CrystFELList(path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == changed


def test_a_full_disk_leaves_the_list_as_it_was_and_it_goes_on_when_there_is_room(tmp_path):
    path = tmp_path / "hits.lst"
    sink = CrystFELList(path)
    sink.write(made_rows(1, 3000))
    content = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) + 20, limits[1]))
    try:
        with pytest.raises(OutputError, match="left as it was"):
            sink.write(made_rows(3001, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == content
    assert sink.last() == 3000
    # rows that could not be written are replaced by the next ones
    sink.write(made_rows(3001, 10))
    sink.close()
    assert path.read_bytes() == lines_of(made_rows(1, 3010))


def test_a_process_that_dies_of_a_full_disk_leaves_nothing_to_be_doubled(tmp_path):
    path = tmp_path / "hits.lst"
    sink = CrystFELList(path)
    sink.write(made_rows(1, 3000))
    size = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        with pytest.raises(OutputError):
            sink.write(made_rows(3001, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sink.close()
    sink = CrystFELList(path)
    assert sink.last() == 3100
    sink.close()
    assert path.read_bytes() == lines_of(made_rows(1, 3100))


def test_a_full_disk_for_the_position_leaves_both_as_they_were(tmp_path):
    path = tmp_path / "hits.lst"
    sink = CrystFELList(path)
    sink.write(made_rows(1, 9))
    before = path.read_bytes(), (tmp_path / "hits.lst.position").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OutputError, match="left as it was"):
            sink.write(made_rows(10, 9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sink.close()
    assert before == (path.read_bytes(), (tmp_path / "hits.lst.position").read_bytes())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hits.lst", "hits.lst.position"]


def write_for_ever(report, path):
    sink = CrystFELList(path)
    while True:
        report.send(sink.last())
        sink.write(made_rows(sink.last() + 1, 1 + sink.last() % 137))


def test_killed_at_any_instant_no_line_is_lost_or_doubled(tmp_path):
    path = tmp_path / "hits.lst"
    seen = b""
    for seconds in instants(6, seed=1):
        done = killed(write_for_ever, path, seconds=seconds)[-1]
        left = path.read_bytes()
        assert left.startswith(seen)  # a program that follows the list misses nothing
        seen = left
        sink = CrystFELList(path)
        last = sink.last()
        sink.close()
        assert last >= done
        assert path.read_bytes() == lines_of(made_rows(1, last))
    assert last > 1000


def test_the_position_is_one_object_of_json(tmp_path):
    sink = CrystFELList(tmp_path / "hits.lst")
    sink.write(made_rows(1, 4))
    sink.close()
    position = json.loads(Path(tmp_path / "hits.lst.position").read_text())
    assert position["sequence"] == 4
    assert position["lines"] == "run-1 //0\nrun-1 //3\n"
