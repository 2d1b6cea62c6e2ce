"""benchmarks/cxidb76.py, on small replicas of the runs of CXIDB 76 and of their label files."""

import json
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfreak.errors import FrameError, GeometryError, InputError
from tests.evidence_models import SHAPE, hit, miss

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILES = {
    "L498": "r0027_2000.h5",
    "LG36": "r0087_2000.h5",
    "LN84": "r0095_2000.h5",
    "LN83": "r0018_2000.h5",
    "LO19": "r0020_2000.h5",
}
PIXEL_MM = 0.11
KINDS = ("hit", "miss", "miss", "maybe")


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Let `yardstick` and the command be imported as the command does."""
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))
    for name in [one for one in sys.modules if one.partition(".")[0] in {"yardstick", "cxidb76"}]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def command(importable):
    import cxidb76

    return cxidb76


def kinds(count):
    return [KINDS[n % len(KINDS)] for n in range(count)]


def frame_of(rng, kind):
    if kind == "miss":
        return miss(rng, hot=0).counts
    return hit(rng, spots_={"hit": 60, "maybe": 10}[kind], photons=600.0).counts


def write_run(path, *, count=12, chunks=2, seed=0, metadata=True, compression=None, areas=None):
    """Write an HDF5 file as those of CXIDB 76 are laid out."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if metadata:
            group = file.create_group("metadata")
            group["idh5_version"] = "idh5_v1.0"
            group["PIXEL_SIZE"] = PIXEL_MM
            group["BEAM_CENTER_X"], group["BEAM_CENTER_Y"] = 150 * PIXEL_MM, 170 * PIXEL_MM
            group["SIZE1"], group["SIZE2"] = SHAPE
            group["MIN_TRUSTED_VALUE"], group["SATURATED_VALUE"] = -10, 90_000
            if areas is not None:
                group["ACTIVE_AREAS"] = np.array(areas).ravel()
        labels = kinds(count)
        for number, part in enumerate(np.array_split(np.arange(count), chunks)):
            group = file.create_group(f"data/chunk_{number:03d}")
            counts = np.array([frame_of(rng, labels[n]) for n in part])
            counts[:, 30, 40], counts[:, 30, 60] = -10, -9  # the first is not trusted
            group.create_dataset("images", data=counts, chunks=(1, *SHAPE), compression=compression)
            group["distance"] = 100.0 + part
            group["wavelength"] = np.full(len(part), 1.3)
            group["timestamp"] = [f"2016-03-01T00:{n:02d}Z".encode() for n in part]
    return path


def write_labels(directory, run, labels, *, dials=True, order=None):
    """Write an expert's labels and DIALS's spots; misses have none, which leaves their line out."""
    place = directory / run
    place.mkdir(parents=True, exist_ok=True)
    numbers = list(range(1, len(labels) + 1)) if order is None else order
    lines = [f"{FILES[run]} [{n}] {labels[n - 1].upper()}" for n in numbers]
    (place / "expert_annotation.txt").write_text("\n".join(lines) + "\n")
    if dials:
        spots = {"hit": 60, "maybe": 10}
        said = {"hit": "Hit", "maybe": "Miss"}
        found = [(n, labels[n - 1]) for n in numbers if labels[n - 1] in spots]
        lines = [f"{n:05d} {spots[kind] + n % 7:5d} {said[kind]}" for n, kind in found]
        (place / "dials_annotation.txt").write_text("\n".join(lines) + "\n")
    return place


def pickled_mask(valid):
    """Return what cctbx pickles of an array of booleans."""
    rows, columns = (length.to_bytes(2, "little") for length in valid.shape)
    size = valid.size.to_bytes((valid.size.bit_length() + 7) // 8, "little")
    text = bytes([len(size) + 1]) + size + np.where(valid, b"1", b"0").tobytes()
    grid = b"M" + rows + b"M" + columns + b"\x86"
    return (
        b"\x80\x02cscitbx_array_family_flex_ext\nbool\nq\x01)Rq\x02"
        b"cscitbx_array_family_flex_ext\ngrid\nq\x03K\x00K\x00\x86"
        + grid
        + b"\x88\x87Rq\x04"
        + grid
        + b"bT"
        + len(text).to_bytes(4, "little")
        + text
        + b"\x86b\x85q\x05."
    )


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    """Two runs of twelve and eight frames, laid out as in the data bank and the repository."""
    root = tmp_path_factory.mktemp("replica")
    write_run(root / "data" / "ln84" / FILES["LN84"])
    half = SHAPE[0] // 2
    areas = [[0, 0, half - 4, SHAPE[1]], [half + 4, 0, *SHAPE]]
    write_run(root / "data" / "lg36" / FILES["LG36"], count=8, chunks=1, seed=1, areas=areas)
    labels = root / "labels" / "annotation"
    write_labels(labels, "LN84", kinds(12))
    place = write_labels(labels, "LG36", kinds(8))
    valid = np.ones(SHAPE, np.bool_)
    valid[:, :20] = False
    (place / "mask2.pickle").write_bytes(pickled_mask(valid))
    (place / "mask.pickle").write_bytes(pickled_mask(~valid))
    return root


@pytest.fixture
def ask(command, replica, tmp_path, capsys):
    """Run the command in this process; return its exit code, JSON and output."""

    def run(*options, data=replica / "data", labels=replica / "labels", runs=("LN84",)):
        out = tmp_path / "out.json"
        out.unlink(missing_ok=True)
        arguments = [str(data), "--labels", str(labels), "--records", str(tmp_path / "records")]
        arguments += ["--workers", "1", "--json", str(out), "--runs", *runs, *map(str, options)]
        code = command.main(arguments)
        said = capsys.readouterr()
        return code, json.loads(out.read_text()) if out.exists() else None, said

    return run


# The label files


def test_labels_are_read_in_any_order(importable):
    from yardstick.labels import parse_expert

    text = "r.h5 [3] HIT\nr.h5 [1] MISS\n\nr.h5 [2] Maybe\nr.h5 [4] None\n"
    assert parse_expert(text, "here") == ("r.h5", {3: "hit", 1: "miss", 2: "maybe"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("r.h5 [1] BLANK", "BLANK in line 1"),
        ("r.h5 1 HIT", "line 1"),
        ("r.h5 [1] HIT\nr.h5 [1] MISS", "line 2"),
        ("r.h5 [0] HIT", "frame 0"),
        ("r.h5 [1] HIT\nother.h5 [2] HIT", "other.h5, r.h5"),
        ("", "none"),
    ],
)
def test_wrong_labels_are_one_clear_line(importable, text, found):
    from yardstick.labels import parse_expert

    with pytest.raises(InputError) as error:
        parse_expert(text, "here")
    assert found in str(error.value)
    assert "expected" in str(error.value)


def test_spots_of_dials_are_read(importable):
    from yardstick.labels import Spots, parse_dials

    assert parse_dials("00003   305 Hit\n00001     7 Miss\n", "here") == {
        3: Spots(count=305, hit=True),
        1: Spots(count=7, hit=False),
    }
    for text in ("00003 305", "3 many Hit", "1 2 Miss\n1 3 Miss"):
        with pytest.raises(InputError, match="expected one line such as"):
            parse_dials(text, "here")


def test_labels_are_found_in_the_repository_and_in_its_directory(importable, replica):
    from yardstick.labels import read_labels

    whole = read_labels(replica / "labels", "LG36")
    assert whole == read_labels(replica / "labels" / "annotation", "LG36")
    assert whole.mask.name == "mask2.pickle"  # as for DIALS
    assert read_labels(replica / "labels", "LN84").mask is None
    with pytest.raises(InputError, match="LO19/expert_annotation.txt"):
        read_labels(replica / "labels", "LO19")


def test_a_mask_of_dials_is_read_without_running_it(importable, tmp_path):
    from yardstick.labels import read_pickled_mask

    valid = np.random.default_rng(0).random((300, 310)) > 0.2
    path = tmp_path / "mask.pickle"
    path.write_bytes(pickled_mask(valid))
    assert np.array_equal(read_pickled_mask(path), ~valid)

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "run",))

    other = pickle.dumps([Evil(), "1" * 40])
    damaged = pickled_mask(valid)
    for wrong in (other, b"no pickle", b"", damaged[:5000], damaged.replace(b"11", b"12")):
        path.write_bytes(wrong)
        with pytest.raises(GeometryError, match="expected a mask of DIALS"):
            read_pickled_mask(path)
    assert not (tmp_path / "run").exists()


# The HDF5 files


def test_frames_and_metadata_are_found(importable, replica):
    from yardstick.layout import read_layout
    from yardstick.results import tasks

    layout = read_layout(replica / "data" / "ln84" / FILES["LN84"])
    assert layout.count == 12
    assert layout.shape == SHAPE
    assert layout.metadata.beam_center_px == pytest.approx((170, 150))
    assert layout.metadata.underload == -10
    assert layout.metadata.saturation == 90_000
    blocks = list(tasks(layout, [2, 5, 6, 7, 11], size=2))
    assert [(block.chunk, [frame[:2] for frame in block.frames]) for block in blocks] == [
        ("/data/chunk_000/images", [(2, 1), (5, 4)]),
        ("/data/chunk_000/images", [(6, 5)]),
        ("/data/chunk_001/images", [(7, 0), (11, 4)]),
    ]
    assert blocks[-1].frames[-1] == (11, 4, 110.0, 1.3)


def test_frames_are_numbered_as_hdf5_lists_their_chunks(importable, tmp_path):
    from yardstick.layout import read_layout

    with h5py.File(tmp_path / "r.h5", "w") as file:
        for name in ("c10", "c9", "c1"):
            file[f"data/{name}/images"] = np.zeros((2, 40, 40), np.int16)
    layout = read_layout(tmp_path / "r.h5")
    assert [chunk.path for chunk in layout.chunks] == [
        f"/data/{name}/images" for name in ("c1", "c10", "c9")
    ]
    assert layout.metadata.beam_center_px is None


def test_pixels_outside_the_active_areas_and_at_their_edges_are_left_out(importable):
    from yardstick.layout import outside

    left_out = outside(((0, 0, 4, 6), (6, 0, 10, 6)), (10, 8))
    expected = np.ones((10, 8), np.bool_)
    expected[1:3, 1:5] = expected[7:9, 1:5] = False
    assert np.array_equal(left_out, expected)
    assert not outside((), (10, 8)).any()


def test_the_frame_knows_what_its_file_says(importable, replica):
    from yardstick import results
    from yardstick.layout import read_layout

    path = replica / "data" / "lg36" / FILES["LG36"]
    layout = read_layout(path)
    mask = replica / "labels" / "annotation" / "LG36" / "mask2.pickle"
    job = results.Job(path=path, metadata=layout.metadata, shape=layout.shape, mask=mask)
    seen = []

    def look(frame):
        seen.append(frame)
        raise FrameError("seen")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "screener_of", lambda _: look)
        (task,) = results.tasks(layout, [3])
        assert results.screen(job, task) == [{"n": 3, "error": "seen"}]
    (frame,) = seen
    assert frame.beam_center_px == pytest.approx((170, 150))
    assert (frame.saturation, frame.distance_mm, frame.wavelength_A) == (90_000, 102.0, 1.3)
    assert frame.pixel_size_mm == PIXEL_MM
    assert not frame.valid[SHAPE[0] // 2].any()  # between the active areas
    assert not frame.valid[:, :20].any()  # the mask
    assert frame.valid[:, 20:].mean() > 0.95
    assert not frame.valid[30, 40]
    assert frame.valid[30, 60]
    with h5py.File(path) as file:
        assert np.array_equal(frame.counts, file["data/chunk_000/images"][2])


@pytest.mark.parametrize("make", ["truncated", "text", "other", "flat"])
def test_a_damaged_file_is_one_clear_line(importable, replica, tmp_path, make):
    from yardstick.layout import read_layout

    path = tmp_path / "r.h5"
    if make == "truncated":
        whole = (replica / "data" / "ln84" / FILES["LN84"]).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif make == "text":
        path.write_text("<html>not found</html>")
    else:
        with h5py.File(path, "w") as file:
            file["entry/data" if make == "other" else "data/one/images"] = np.zeros((40, 40))
    with pytest.raises(FrameError, match="expected") as error:
        read_layout(path)
    assert len(str(error.value).splitlines()) == 1


# Records


def test_a_torn_last_line_is_cut_off(importable):
    from yardstick.results import read_record

    head = {"run": "LN84"}
    text = b'{"run": "LN84"}\n{"n": 1, "p": 0.5}\n{"n": 2, "p'
    rows, whole = read_record(text, head, "here")
    assert rows == {1: {"n": 1, "p": 0.5}}
    assert text[:whole].endswith(b"0.5}\n")
    assert read_record(b'{"run', head, "here") == ({}, 0)


@pytest.mark.parametrize(
    "text", [b'{"run": "LO19"}\n', b"[]\n", b'{"run": "LN84"}\n[1]\n', b"\xff\n", b"words\n"]
)
def test_a_record_of_other_settings_is_not_continued(importable, text):
    from yardstick.results import read_record

    with pytest.raises(InputError, match="expected a record"):
        read_record(text, {"run": "LN84"}, "here")


# Scores


def test_auc_and_its_variance_are_delongs(importable):
    from yardstick.scores import delong

    rng = np.random.default_rng(0)
    hits = np.array([rng.normal(1, 1, 40), rng.integers(3, 9, 40)])
    misses = np.array([rng.normal(0, 1, 70), rng.integers(0, 6, 70)])
    auc, covariance = delong(hits, misses)
    truth = np.r_[np.ones(40), np.zeros(70)]
    for score, found in enumerate(auc):
        assert found == pytest.approx(roc_auc_score(truth, np.r_[hits[score], misses[score]]))
    # the definition: covariances of the means over each hit's and each miss's pairs
    pairs = (hits[:, :, None] > misses[:, None]) + 0.5 * (hits[:, :, None] == misses[:, None])
    expected = np.cov(pairs.mean(axis=2)) / 40 + np.cov(pairs.mean(axis=1)) / 70
    assert covariance == pytest.approx(expected)


def test_a_perfect_auc_is_not_proved_by_few_frames(importable):
    from yardstick.scores import auc_interval

    assert auc_interval(1.0, 0.0, 10) == pytest.approx((0.025**0.1, 1.0))
    assert auc_interval(0.0, 0.0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert auc_interval(0.9, 0.01**2, 10) == pytest.approx((0.8804, 0.9196), abs=1e-4)
    assert auc_interval(0.99, 0.1**2, 10)[1] == 1.0


def test_figures_follow_from_results_and_labels(importable):
    from yardstick.labels import Spots
    from yardstick.scores import figures

    decided = {1: "keep", 2: "unsure", 3: "discard", 4: "discard", 5: "unsure", 6: "keep"}
    p = {1: 0.9, 2: 0.6, 3: 0.1, 4: 0.05, 5: 0.55, 6: 0.95}
    rows = {n: {"n": n, "p": p[n], "decision": decided[n], "peaks": 10 * n} for n in p}
    rows[7] = {"n": 7, "error": "damaged"}
    labels = {1: "hit", 2: "hit", 3: "hit", 4: "miss", 5: "miss", 6: "maybe", 7: "hit"}
    dials = {1: Spots(count=40, hit=True), 2: Spots(count=16, hit=False)}
    dials |= {5: Spots(count=3, hit=False), 6: Spots(count=90, hit=True)}
    found = figures(rows, labels, dials)
    assert found["frames"] == {"hit": 3, "maybe": 1, "miss": 2}
    assert found["unreadable"] == 1
    assert found["decided"]["hit"] == {"keep": 1, "unsure": 1, "discard": 1}
    assert found["auc"][0] == pytest.approx(5 / 6)  # the maybe is left out
    assert found["balanced_unsure_kept"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["balanced_unsure_discarded"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["balanced_even"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    # frames 3 and 4 are not in DIALS's file: it found no spots
    assert found["dials_auc"][0] == pytest.approx(4.5 / 6)
    assert found["dials_tuned"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["dials_at_one_threshold"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["auc_over_dials"][0] == pytest.approx(0.5 / 6)


def test_a_run_of_one_class_has_no_auc(importable):
    from yardstick.scores import figures

    found = figures({1: {"n": 1, "p": 0.5, "decision": None, "peaks": 3}}, {1: "hit"}, None)
    assert "auc" not in found
    assert found["frames"]["hit"] == 1


# The command


def test_hits_of_the_replicas_score_above_misses(ask):
    code, out, said = ask(runs=("LN84", "LG36"))
    assert code == 0
    assert said.err == ""
    assert "AUC, DIALS's number of spots" in said.out
    assert "90.4%" in said.out
    assert "about 93%" in said.out
    for run, frames in (
        ("LN84", {"hit": 3, "maybe": 3, "miss": 6}),
        ("LG36", {"hit": 2, "maybe": 2, "miss": 4}),
    ):
        assert out["runs"][run]["frames"] == frames
        assert out["runs"][run]["auc"][0] == 1.0
        assert out["runs"][run]["dials_auc"][0] == 1.0
        assert out["runs"][run]["peaks_against_spots"] > 0.7
    assert out["runs"]["LG36"]["settings"]["mask"] == "mask2.pickle"
    assert out["runs"]["LG36"]["settings"]["active_areas"] == 2


def test_the_table_is_markdown_on_request(ask):
    _, _, said = ask("--markdown", "--frames", "1-4")
    lines = [line for line in said.out.splitlines() if line.startswith("|")]
    assert lines[0] == "|  | LN84 | mean |"
    assert lines[1] == "|---|---|---|"
    assert lines[2] == "| frames: hit / maybe / miss | 1 / 1 / 2 |  |"
    assert len({line.count("|") for line in lines}) == 1


def test_only_frames_without_a_result_are_read_again(ask, command, tmp_path):
    ask("--frames", "1-4")
    record = tmp_path / "records" / "LN84.jsonl"
    first = record.read_bytes()
    record.write_bytes(first + b'{"n": 5, "p": 0.')  # as after a crash
    code, out, _ = ask()
    assert code == 0
    assert record.read_bytes().startswith(first)
    rows = [json.loads(line) for line in record.read_text().splitlines()[1:]]
    assert [row["n"] for row in rows] == list(range(1, 13))
    size = record.stat().st_size
    assert ask()[1]["runs"] == out["runs"]
    assert record.stat().st_size == size


def test_a_killed_command_resumes_with_the_result_of_one_that_was_not(ask, replica, tmp_path):
    line = [sys.executable, str(BENCHMARKS / "cxidb76.py"), str(replica / "data")]
    line += ["--labels", str(replica / "labels"), "--records", str(tmp_path / "records")]
    line += ["--runs", "LN84", "LG36", "--workers", "2"]
    record = tmp_path / "records" / "LN84.jsonl"
    with (tmp_path / "log").open("wb") as log:
        killed = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=log)
    end = time.monotonic() + 240
    while time.monotonic() < end and not (record.exists() and record.read_bytes().count(b"\n") > 1):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    before = record.read_bytes()
    code, resumed, _ = ask(runs=("LN84", "LG36"))
    assert code == 0
    assert record.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    (tmp_path / "records").rename(tmp_path / "other")
    assert ask(runs=("LN84", "LG36"))[1] == resumed


def test_a_damaged_run_does_not_stop_the_others(ask, replica, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / FILES["LN84"]).symlink_to(replica / "data" / "ln84" / FILES["LN84"])
    (data / FILES["LG36"]).write_bytes(b"damaged")
    code, out, said = ask(data=data, runs=("LG36", "LN84", "LO19"))
    assert code == 3
    assert list(out["runs"]) == ["LN84"]
    lines = said.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("cxidb76: LG36: expected an HDF5 file of CXIDB 76")
    assert lines[1].startswith("cxidb76: LO19: expected LO19/expert_annotation.txt")
    code, _, said = ask(data=data, runs=("LG36",))
    assert code == 2
    assert said.err.splitlines()[-1].startswith("cxidb76: expected runs of CXIDB 76 in")


def test_a_damaged_frame_is_said_and_tried_again(ask, replica, tmp_path):
    path = write_run(tmp_path / "data" / FILES["LN84"], compression="gzip")
    with h5py.File(path) as file:
        chunk = file["data/chunk_000/images"].id.get_chunk_info(1)
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\0" * 64)
    code, out, said = ask(data=tmp_path / "data")
    assert code == 3
    assert out["runs"]["LN84"]["unreadable"] == 1
    assert out["runs"]["LN84"]["frames"] == {"hit": 3, "maybe": 3, "miss": 5}
    assert said.err.startswith("cxidb76: LN84: 1 frames could not be read; the first: ")
    path.write_bytes(whole)
    code, out, _ = ask(data=tmp_path / "data")
    assert (code, out["runs"]["LN84"]["unreadable"]) == (0, 0)


def test_labels_of_frames_that_are_not_there_are_said(ask, tmp_path):
    write_labels(tmp_path / "labels", "LN84", kinds(15))
    code, out, said = ask(labels=tmp_path / "labels")
    assert code == 0
    assert "3 labels are of frames that r0095_2000.h5 does not have, which has 12" in said.err
    assert sum(out["runs"]["LN84"]["frames"].values()) == 12


def test_frames_without_labels_are_left_out(ask, tmp_path):
    write_labels(tmp_path / "labels", "LN84", kinds(12), order=[9, 1, 3, 2, 6, 7])
    _, out, said = ask(labels=tmp_path / "labels")
    assert "6 frames have no label and were left out" in said.err
    assert sum(out["runs"]["LN84"]["frames"].values()) == 6


def test_without_dials_file_its_figures_are_missing(ask, tmp_path):
    write_labels(tmp_path / "labels", "LN84", kinds(12), dials=False)
    code, out, said = ask(labels=tmp_path / "labels")
    assert code == 0
    assert "expected dials_annotation.txt" in said.err
    assert "dials_auc" not in out["runs"]["LN84"]
    assert out["runs"]["LN84"]["auc"][0] == 1.0


def test_the_order_of_the_lines_changes_nothing(ask, tmp_path):
    write_labels(tmp_path / "labels", "LN84", kinds(12), order=list(range(12, 0, -1)))
    _, out, _ = ask(labels=tmp_path / "labels")
    assert out["runs"]["LN84"] == ask()[1]["runs"]["LN84"]


def test_labels_of_other_frames_are_noticed(ask, tmp_path):
    moved = kinds(13)[1:]  # each label is that of the next frame
    write_labels(tmp_path / "labels", "LN84", moved)
    _, out, said = ask(labels=tmp_path / "labels")
    assert out["runs"]["LN84"]["peaks_against_spots"] < 0.3
    assert "do frames and labels belong together" in said.err


def test_other_settings_need_another_record(ask):
    ask("--frames", "1-2")
    code, _, said = ask("--frames", "1-2", "--gain", "LN84=2.5")
    assert code == 2
    assert "expected a record of the same settings" in said.err
    assert "another gain" in said.err


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--frames", "2000"), "--frames"),
        (("--frames", "5-2"), "--frames"),
        (("--gain", "LN84"), "--gain RUN=VALUE"),
        (("--gain", "XX=2"), "found XX=2"),
        (("--gain", "LN84=none"), "--gain, found none"),
        (("--mask", "LN84=/nowhere.png"), "nowhere.png"),
        (("--geometry", "LN84=/nowhere.geom"), "nowhere.geom"),
        (("--workers", "0"), "1 worker"),
        (("--model", "/nowhere.evidence"), "nowhere.evidence"),
        (("--json", "/nowhere/out.json"), "/nowhere"),
    ],
)
def test_a_wrong_option_is_one_clear_line(ask, options, found):
    code, out, said = ask(*options)
    assert code == (1 if "--json" in options else 2)
    assert out is None
    assert found in said.err.splitlines()[0]
    assert "Traceback" not in said.err


def test_a_mask_of_another_size_is_one_clear_line(ask, tmp_path):
    path = tmp_path / "mask.pickle"
    path.write_bytes(pickled_mask(np.ones((300, 310), np.bool_)))
    code, _, said = ask("--mask", f"LN84={path}")
    assert code == 2
    assert "expected a mask of 320 x 320 pixels" in said.err


def test_missing_directories_and_double_files_are_said(ask, replica, tmp_path):
    code, _, said = ask(data=tmp_path / "nowhere")
    assert code == 2
    assert "expected a directory" in said.err
    for name in ("a", "b"):
        write_run(tmp_path / name / FILES["LN84"], count=2, chunks=1)
    code, _, said = ask(data=tmp_path)
    assert code == 2
    assert "expected one r0095_2000.h5" in said.err
