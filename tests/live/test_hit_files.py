import resource
from dataclasses import replace
from pathlib import Path

import fabio
import h5py
import hdf5plugin  # noqa: F401 - lets h5py read bitshuffle
import numpy as np
import pytest

from deepfreak.errors import FrameError, InputError, OutputError
from deepfreak.formats import read_frames
from deepfreak.live.messages import HitCopy, LedgerRow
from deepfreak.live.sinks.crystfel_list import CrystFELList
from deepfreak.live.sinks.hit_files import HitFiles
from deepfreak.live.sinks.hit_layout import OURS
from tests.live.examples import (
    CLASSES,
    instants,
    killed,
    made_frame,
    made_hit,
    made_peaks,
    made_rows,
)

FORMS = ("nxmx", "cxi")
SUFFIX = {"nxmx": ".h5", "cxi": ".cxi"}
DATA = {"nxmx": "/entry/data/data", "cxi": "/entry_1/data_1/data"}
MASK = {"nxmx": "/entry/instrument/detector/pixel_mask", "cxi": "/entry_1/data_1/mask"}
PEAKS = {"nxmx": "/entry/deepfreak", "cxi": "/entry_1/result_1"}


def kept(folder, hits, *, form="nxmx", **options):
    """Keep hits and close; return the names of the files."""
    sink = HitFiles(folder, form=form, classes=CLASSES, **options)
    for hit in hits:
        sink.keep(hit)
    sink.close()
    return sorted(path.name for path in folder.iterdir() if path.suffix in {".h5", ".cxi"})


def held(folder):
    """Return (series, number) of each frame of each file, after checking that it is that frame."""
    found = []
    for path in sorted(folder.glob("hits-*")):
        form = "nxmx" if path.suffix == ".h5" else "cxi"
        with h5py.File(path) as file:
            ours = file[OURS[form]]
            for image, series, number in zip(
                file[DATA[form]], ours["series"].asstr(), ours["number"], strict=True
            ):
                shape = image.shape
                np.testing.assert_array_equal(image, made_frame(number, shape=shape).counts)
                found.append((series, int(number)))
    return found


def left(folder):
    return {path.name for path in folder.iterdir()}


def test_a_folder_takes_frames_of_its_decision_only(tmp_path):
    hits = [made_hit(number) for number in range(4)]
    hits[1:3] = [replace(hit, outcome=replace(hit.outcome, decision="unsure")) for hit in hits[1:3]]
    for name, decision, numbers in (("hits", "keep", [0, 3]), ("unsure", "unsure", [1, 2])):
        kept(tmp_path / name, hits, decision=decision)
        assert held(tmp_path / name) == [("run-1", number) for number in numbers]


@pytest.mark.parametrize("form", FORMS)
def test_a_file_holds_frames_and_peaks_where_others_look_for_them(tmp_path, form):
    names = kept(tmp_path, map(made_hit, range(5)), form=form)
    assert names == ["hits-00001" + SUFFIX[form]]
    with h5py.File(tmp_path / names[0]) as file:
        images = file[DATA[form]]
        assert images.shape == (5, 40, 64)
        assert images.chunks == (1, 40, 64)
        assert images.dtype == np.uint32
        np.testing.assert_array_equal(images[3], made_frame(3).counts)
        mask = file[MASK[form]]
        assert mask.shape == (40, 64)
        np.testing.assert_array_equal(mask[()] != 0, ~made_frame(0).valid)
        peaks = file[PEAKS[form]]
        assert peaks["nPeaks"][()].tolist() == [1, 2, 3, 4, 1]
        for name in ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity"):
            assert peaks[name].shape == (5, 1024)
        # the first peak is at the centre of pixel [7, 9]
        assert peaks["peakXPosRaw"][3, :5].tolist() == [9.0, 9.5, 10.0, 10.5, 0.0]
        assert peaks["peakYPosRaw"][3, :5].tolist() == [7.0, 8.0, 9.0, 10.0, 0.0]
        assert peaks["peakTotalIntensity"][3, :5].tolist() == [100.0, 101.0, 102.0, 103.0, 0.0]
        ours = file[OURS[form]]
        assert ours["series"].asstr()[()].tolist() == ["run-1"] * 5
        assert ours["number"][()].tolist() == [0, 1, 2, 3, 4]
        assert ours["label"].asstr()[()].tolist() == list(CLASSES)
        assert ours["p_crystal"][()].tolist() == [0.1, 0.1, 0.9, 0.9, 0.9]
        assert ours["probabilities"].attrs["classes"].tolist() == list(CLASSES)
        assert ours["probabilities"][1].tolist() == [0.05, 0.8, 0.05, 0.05, 0.05]


def test_nxmx_says_where_the_detector_stands(tmp_path):
    kept(tmp_path, map(made_hit, range(3)))
    with h5py.File(tmp_path / "hits-00001.h5") as file:
        assert file["/entry/definition"].asstr()[()] == "NXmx"
        detector = file["/entry/instrument/detector"]
        assert detector["distance"][()] == pytest.approx(0.120)
        assert detector["x_pixel_size"][()] == detector["y_pixel_size"][()]
        assert detector["x_pixel_size"][()] == pytest.approx(75e-6)
        assert detector["beam_center_x"][()] == 30.25
        assert detector["beam_center_y"][()] == 21.5
        assert detector["saturation_value"][()] == 60000
        wavelength = file["/entry/instrument/beam/incident_wavelength"]
        assert wavelength[()].tolist() == pytest.approx([1.0, 1.001, 1.002])
        assert wavelength.attrs["units"] == "angstrom"


def test_cxi_says_the_energy_in_joules_and_links_its_detector(tmp_path):
    kept(tmp_path, map(made_hit, range(3)), form="cxi")
    with h5py.File(tmp_path / "hits-00001.cxi") as file:
        assert file["cxi_version"][()] == 160
        energy = file["/entry_1/instrument_1/source_1/energy"][()]
        assert energy[0] == pytest.approx(1.98644586e-15)  # of 1 angstrom
        detector = file["/entry_1/instrument_1/detector_1"]
        assert detector["data"] == file["/entry_1/data_1/data"]
        assert detector["mask"] == file["/entry_1/data_1/mask"]
        assert detector["distance"][()] == pytest.approx(0.120)


@pytest.mark.parametrize("form", FORMS)
def test_what_was_measured_survives_reading_it_again(tmp_path, form):
    masks = [np.random.default_rng(n).random((40, 64)) > 0.1 for n in range(4)]
    hits = [made_hit(n, valid=masks[n // 2], pedestal=2.0) for n in range(4)]
    (name,) = kept(tmp_path, hits, form=form)
    for number, frame in enumerate(read_frames(tmp_path / name)):
        as_made = made_frame(number)
        np.testing.assert_array_equal(frame.counts, as_made.counts)
        np.testing.assert_array_equal(frame.valid, masks[number // 2])
        assert frame.beam_center_px == as_made.beam_center_px
        assert frame.pixel_size_mm == pytest.approx(as_made.pixel_size_mm)
        assert frame.distance_mm == pytest.approx(as_made.distance_mm)
        assert frame.saturation == as_made.saturation
        assert frame.pedestal == 2.0
        if form == "nxmx":
            assert frame.wavelength_A == pytest.approx(as_made.wavelength_A)


def test_fabio_reads_an_nxmx_file(tmp_path):
    kept(tmp_path, map(made_hit, range(3)))
    with fabio.open(str(tmp_path / "hits-00001.h5")) as image:
        assert image.nframes == 3
        np.testing.assert_array_equal(image.get_frame(2).data, made_frame(2).counts)


@pytest.mark.parametrize(
    ("dtype", "stored"), [("<u2", "<u4"), (">u4", "<u4"), ("<i4", "<i4"), ("<f4", "<f4")]
)
def test_the_largest_count_of_a_type_stays_a_count(tmp_path, dtype, stored):
    hit = made_hit(0, dtype=dtype, saturation=None)
    kept(tmp_path, [hit])
    with h5py.File(tmp_path / "hits-00001.h5") as file:
        assert file["/entry/data/data"].dtype == np.dtype(stored)
        np.testing.assert_array_equal(file["/entry/data/data"][0], made_frame(0).counts)


def test_more_peaks_than_cheetah_has_columns_for_are_all_kept(tmp_path):
    kept(tmp_path, [made_hit(0), made_hit(1, peaks=made_peaks(0, count=1500))])
    with h5py.File(tmp_path / "hits-00001.h5") as file:
        assert file["/entry/deepfreak/peakXPosRaw"].shape == (2, 1500)
        assert file["/entry/deepfreak/nPeaks"][()].tolist() == [1, 1500]


def test_files_are_made_when_they_are_full_and_when_all_is_over(tmp_path):
    folder = tmp_path / "hits"
    sink = HitFiles(folder, form="nxmx", frames_per_file=3, classes=CLASSES)
    copies = [sink.keep(made_hit(number)) for number in range(7)]
    assert left(folder) == {"hits-00001.h5", "hits-00002.h5", ".hits-00003.h5.draft"}
    assert copies[4] == HitCopy("hits/hits-00002.h5", 1)
    assert copies[6] == HitCopy("hits/hits-00003.h5", 0)
    sink.close()
    assert left(folder) == {"hits-00001.h5", "hits-00002.h5", "hits-00003.h5"}
    assert held(folder) == [("run-1", number) for number in range(7)]


def test_a_frame_of_another_kind_begins_another_file(tmp_path):
    hits = [
        made_hit(0),
        made_hit(1, shape=(30, 30)),
        made_hit(2, shape=(30, 30)),
        made_hit(3),
        made_hit(4, distance_mm=150.0),
    ]
    assert len(kept(tmp_path, hits)) == 4
    assert [number for _, number in held(tmp_path)] == [0, 1, 2, 3, 4]


def test_a_stack_of_modules_is_refused_and_the_others_are_kept(tmp_path):
    sink = HitFiles(tmp_path, form="nxmx", classes=CLASSES)
    sink.keep(made_hit(0))
    modules = made_hit(1)
    stack = made_frame(1, shape=(4, 40, 64))
    object.__setattr__(modules, "frame", lambda: stack)
    with pytest.raises(FrameError, match="3 axes"):
        sink.keep(modules)
    sink.close()
    assert held(tmp_path) == [("run-1", 0)]


def test_nothing_kept_makes_no_file(tmp_path):
    assert kept(tmp_path / "hits", []) == []


def test_a_frame_that_comes_again_is_held_once_and_not_even_decoded(tmp_path):
    kept(tmp_path, [made_hit(0), made_hit(1), made_hit(0)], frames_per_file=2)
    again = made_hit(1)
    object.__setattr__(again, "frame", lambda: pytest.fail("decoded"))
    kept(tmp_path, [again, made_hit(1, series="run-2"), made_hit(2)], form="cxi")
    assert held(tmp_path) == [("run-1", 0), ("run-1", 1), ("run-2", 1), ("run-1", 2)]


def test_a_draft_is_gone_on_with_whatever_is_asked_for_now(tmp_path):
    sink = HitFiles(tmp_path, form="nxmx", classes=CLASSES)
    sink.keep(made_hit(0))
    sink._open.close()  # as a process that dies
    sink = HitFiles(tmp_path, form="nxmx", classes=CLASSES)
    sink.keep(made_hit(0))
    sink.keep(made_hit(1))
    sink._open.close()
    names = kept(tmp_path, [made_hit(2)], form="cxi")
    assert names == ["hits-00001.h5", "hits-00002.cxi"]
    assert held(tmp_path) == [("run-1", 0), ("run-1", 1), ("run-1", 2)]
    with h5py.File(tmp_path / "hits-00001.h5") as file:  # the mask is known to be the same
        assert file["/entry/instrument/detector/pixel_mask"].ndim == 2


def test_a_whole_file_whose_draft_was_left_is_not_made_again(tmp_path):
    sink = HitFiles(tmp_path, form="nxmx", classes=CLASSES)
    sink.keep(made_hit(0))
    sink._open.close()
    (draft,) = tmp_path.glob(".*.draft")
    content = draft.read_bytes()
    kept(tmp_path, [])
    draft.write_bytes(content)
    kept(tmp_path, [made_hit(0)])
    assert left(tmp_path) == {"hits-00001.h5"}
    assert held(tmp_path) == [("run-1", 0)]


def test_a_draft_beside_a_file_with_other_hits_is_refused_and_kept(tmp_path):
    sink = HitFiles(tmp_path, form="nxmx", classes=CLASSES)
    sink.keep(made_hit(0))
    sink._open.close()
    (draft,) = tmp_path.glob(".*.draft")
    with h5py.File(tmp_path / "hits-00001.h5", "w") as file:
        file["mine"] = 1
    with pytest.raises(OutputError, match="move it away"):
        HitFiles(tmp_path, form="nxmx", classes=CLASSES)
    assert draft.exists()


def test_two_writers_of_one_folder_are_refused(tmp_path):
    sink = HitFiles(tmp_path, form="nxmx", classes=CLASSES)
    with pytest.raises(OutputError, match="another process writes"):
        HitFiles(tmp_path, form="cxi", classes=CLASSES)
    sink.close()


def test_numbers_of_files_that_were_moved_away_are_not_given_again(tmp_path):
    kept(tmp_path, [made_hit(0)])
    (tmp_path / "hits-00001.h5").unlink()
    last = HitCopy(f"{tmp_path.name}/hits-00001.h5", 0)
    assert kept(tmp_path, [made_hit(1)], last=last) == ["hits-00002.h5"]
    assert held(tmp_path) == [("run-1", 1)]


def test_a_frame_without_a_verdict_is_found_though_other_files_follow(tmp_path):
    hits = [made_hit(number) for number in range(7)]
    sink = HitFiles(tmp_path / "hits", form="nxmx", frames_per_file=2, classes=CLASSES)
    copies = [sink.keep(hit) for hit in hits]
    sink._open.close()  # killed before the verdicts behind frame 1 were recorded
    sink = HitFiles(
        tmp_path / "hits", form="nxmx", frames_per_file=2, classes=CLASSES, last=copies[1]
    )
    for number in range(7, 12):
        sink.keep(made_hit(number))
    assert [sink.keep(hit) for hit in hits[2:]] == copies[2:]
    sink.close()
    assert held(tmp_path / "hits") == [("run-1", number) for number in range(12)]


def test_the_place_of_a_hit_that_a_power_failure_took_is_not_given_again(tmp_path):
    sink = HitFiles(tmp_path / "hits", form="nxmx", classes=CLASSES)
    copies = [sink.keep(made_hit(number)) for number in range(3)]
    sink._open.close()
    (draft,) = (tmp_path / "hits").glob(".*.draft")
    draft.write_bytes(draft.read_bytes()[:-10])
    sink = HitFiles(tmp_path / "hits", form="nxmx", classes=CLASSES, last=copies[2])
    assert sink.keep(made_hit(3)) == HitCopy("hits/hits-00002.h5", 0)
    sink.close()
    assert held(tmp_path / "hits") == [("run-1", 0), ("run-1", 1), ("run-1", 3)]


def test_hostile_series_are_held_under_their_spelling(tmp_path):
    for series in ("../../a\0b", "\ud800", "<script>"):
        kept(tmp_path, [made_hit(0, series=series), made_hit(0, series=series)])
    assert len(held(tmp_path)) == 3
    # the spelling in the files is the one looked for
    assert len(kept(tmp_path, [made_hit(0, series="../../a\0b")])) == 3


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(InputError, match="nxmx or cxi"):
        HitFiles(tmp_path, form="tiff", classes=CLASSES)
    with pytest.raises(InputError, match="at least 1 frame"):
        HitFiles(tmp_path, form="cxi", classes=CLASSES, frames_per_file=0)
    with pytest.raises(OutputError, match="cannot make"):
        HitFiles(tmp_path / "none" / "hits", form="cxi", classes=CLASSES)


def test_a_full_disk_loses_no_hit_that_was_kept(tmp_path):
    sink = HitFiles(tmp_path, form="nxmx", frames_per_file=4, classes=CLASSES)
    for number in range(3):
        sink.keep(made_hit(number))
    (draft,) = tmp_path.glob(".*.draft")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    record = draft.stat().st_size // 3
    # first the hit's record does not fit; then it does, and the file that it completes does not
    for room, is_safe in ((record // 2, False), (record * 2, True)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (draft.stat().st_size + room, limits[1]))
        try:
            with pytest.raises(OutputError, match="safe"):
                sink.keep(made_hit(3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert left(tmp_path) == {".hits-00001.h5.draft"}
        assert (("run-1", 3) in sink._copies) == is_safe
    sink.keep(made_hit(3))
    sink.keep(made_hit(4))
    sink.close()
    assert held(tmp_path) == [("run-1", number) for number in range(5)]


def keep_for_ever(report, folder, first):
    sink = HitFiles(folder, form="nxmx", frames_per_file=7, classes=CLASSES)
    for number in range(max(0, first - 3), 100_000):
        report.send(number - 1)
        sink.keep(made_hit(number))


def test_killed_at_any_instant_no_hit_is_lost_or_doubled(tmp_path):
    done = 0
    for seconds in instants(6, seed=2, longest=0.2):
        done = max(done, killed(keep_for_ever, tmp_path, done + 1, seconds=seconds)[-1])
    kept(tmp_path, [])
    found = held(tmp_path)
    assert found in (
        [("run-1", number) for number in range(done + 1)],
        [("run-1", number) for number in range(done + 2)],  # kept, but it could not tell any more
    )
    assert len(found) > 50
    assert all(path.suffix == ".h5" for path in tmp_path.iterdir())


def test_a_list_for_crystfel_names_the_copies(tmp_path):
    hits = HitFiles(tmp_path / "hits", form="cxi", frames_per_file=2, classes=CLASSES)
    frames = CrystFELList(tmp_path / "hits.lst")
    rows = []
    for row in made_rows(1, 10):
        kept_ = row.outcome.decision == "keep"
        copy = hits.keep(made_hit(row.outcome.number)) if kept_ else None
        rows.append(LedgerRow(sequence=row.sequence, outcome=replace(row.outcome, copy=copy)))
    frames.write(rows)
    frames.close()
    hits.close()
    for line, number in zip(
        (tmp_path / "hits.lst").read_text().splitlines(), (0, 3, 6, 9), strict=True
    ):
        name, _, index = line.rpartition(" //")
        with h5py.File(name) as file:
            assert Path(name).is_absolute()
            image = file["/entry_1/data_1/data"][int(index)]
        np.testing.assert_array_equal(image, made_frame(number).counts)
