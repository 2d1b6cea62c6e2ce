import json
import os

import h5py
import numpy as np
import pytest

from deepfreak.cli import main
from tests.unit.formats import made

KEYS = [
    *("file", "frame", "frames", "shape", "dtype", "valid", "missing", "saturated"),
    *("gain", "pedestal", "saturation", "beam_center_px", "pixel_size_mm", "distance_mm"),
    *("wavelength_A", "detector", "from", "notes", "evidence"),
]


@pytest.fixture
def image(tmp_path):
    counts = made.photons()
    counts[7] = -1
    counts[9, 9], counts[9, 10] = 2_000_000, -2
    path = tmp_path / "a.cbf"
    path.write_bytes(made.cbf(counts))
    return path


def run(*arguments):
    return main(["inspect", *map(str, arguments)])


def records(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_has_one_object_a_frame_with_what_was_found_and_where(image, capsys):
    assert run(image, "--format", "json") == 0
    (record,) = records(capsys)
    assert list(record) == KEYS
    assert record["file"] == str(image)
    assert (record["frame"], record["frames"], record["shape"]) == (0, 1, [150, 130])
    assert record["dtype"] == "int32"
    assert record["missing"] == {"negative count": 131}
    assert record["valid"] == 150 * 130 - 131
    assert record["saturated"] == 1
    assert (record["gain"], record["pedestal"], record["saturation"]) == (1.0, 0.0, 1e6)
    assert record["beam_center_px"] == [70.25, 60.5]
    assert record["distance_mm"] == pytest.approx(80)
    assert record["wavelength_A"] == 1.5
    assert "PILATUS 300K" in record["detector"]
    known = {key for key in KEYS[8:15] if record[key] is not None}
    assert set(record["from"]) == known
    assert record["notes"] == []


def test_what_is_unknown_is_null(tmp_path, capsys):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = made.photons((2, 64, 64)).astype(np.uint16)
    assert run(tmp_path / "a.h5", "--format", "json") == 0
    (record,) = records(capsys)
    assert [key for key in KEYS if record[key] is None] == [
        *("saturated", "gain", "pedestal", "saturation", "beam_center_px", "pixel_size_mm"),
        *("distance_mm", "wavelength_A", "detector"),
    ]


def test_missing_pixels_are_counted_by_reason_and_add_up(tmp_path, image, capsys):
    mask = np.zeros((150, 130), np.uint8)
    mask[:9] = 1
    np.save(tmp_path / "m.npy", mask)
    assert run(image, "--mask", tmp_path / "m.npy", "--format", "json") == 0
    (record,) = records(capsys)
    assert record["missing"] == {"negative count": 131, "mask given by hand": 8 * 130}
    assert record["valid"] + sum(record["missing"].values()) == 150 * 130


@pytest.mark.parametrize("number", [0, 2])
def test_a_frame_is_chosen_by_its_number(tmp_path, capsys, number):
    frames = np.stack([made.photons((64, 64), mean=10 + i) for i in range(3)]).astype(np.uint16)
    frames[2, 5] = 65535
    master = made.eiger(tmp_path, frames)
    assert run(master, "--frame", number, "--format", "json") == 0
    (record,) = records(capsys)
    assert (record["frame"], record["frames"]) == (number, 3)
    assert record["valid"] == 64 * (64 if number == 0 else 63)


def test_a_frame_that_is_not_there_is_an_error_of_its_file(image, capsys):
    assert run(image, "--frame", 5, "--format", "json") == 2
    (record,) = records(capsys)
    assert list(record) == ["file", "frame", "error"]
    assert record["frame"] == 5
    assert "expected a frame below" in record["error"]


def test_gain_and_pedestal_by_hand_are_named_so(image, capsys):
    assert run(image, "--gain", 2.5, "--pedestal", 7, "--format", "json") == 0
    (record,) = records(capsys)
    assert (record["gain"], record["pedestal"]) == (2.5, 7.0)
    assert record["from"]["gain"] == record["from"]["pedestal"] == "given by hand"


def test_a_channel_is_chosen(tmp_path, capsys):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = np.stack([made.photons((64, 64)), made.photons((64, 64)) + 9])[None]
        file["entry/data/data"] = images.astype(np.uint16)
        file["entry/data"].attrs["axes"] = ["image_id", "channel", ".", "."]
    assert run(tmp_path / "a.h5", "--channel", "threshold_2") == 0
    assert run(tmp_path / "a.h5", "--channel", "3") == 2


def test_the_table_says_the_same_in_words(image, capsys):
    assert run(image) == 0
    said = capsys.readouterr().out
    for text in ("150 x 130", "131: negative count", "PILATUS", "[Count_cutoff]", "1.5 A"):
        assert text in said


def test_an_unreadable_file_is_a_record_and_the_rest_goes_on(image, capsys):
    (image.parent / "b.cbf").write_bytes(image.read_bytes()[:-3000])
    assert run(image.parent / "b.cbf", image, "--format", "json") == 3
    first, second = records(capsys)
    assert list(first) == ["file", "frame", "error"]
    assert "truncated" in first["error"]
    assert second["valid"] > 0
    assert run(image.parent / "b.cbf") == 2
    assert "cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize("options", [("--mask", "none.npy"), ("--geometry", "none.geom")])
def test_options_that_cannot_be_had_end_it_with_one_line(image, capsys, options):
    assert run(image, *options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1


def test_a_mask_that_does_not_fit_is_an_error_in_one_line(tmp_path, image, capsys):
    np.save(tmp_path / "m.npy", np.zeros((3, 4)))
    assert run(image, "--mask", tmp_path / "m.npy") == 2
    said = capsys.readouterr()
    assert "mask" in said.err + said.out


def test_a_picture_is_drawn_of_one_file_and_never_over_another(tmp_path, image, capsys):
    picture = tmp_path / "p.png"
    assert run(image, "--picture", picture) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    before = picture.read_bytes()
    assert run(image, "--picture", picture) == 1
    assert "exists" in capsys.readouterr().err
    assert picture.read_bytes() == before
    assert run(image, "--picture", picture, "--overwrite") == 0
    (tmp_path / "c.cbf").write_bytes(image.read_bytes())
    assert run(image, tmp_path / "c.cbf", "--picture", tmp_path / "q.png") == 2
    assert not (tmp_path / "q.png").exists()


@pytest.mark.parametrize("content", ["all missing", "one value", "tiny"])
def test_odd_frames_can_be_drawn(tmp_path, content):
    counts = made.photons((40, 50))
    if content == "all missing":
        counts[:] = -1
    if content == "one value":
        counts[:] = 5
    if content == "tiny":
        counts = counts[:2, :3]
    (tmp_path / "a.cbf").write_bytes(made.cbf(counts))
    assert run(tmp_path / "a.cbf", "--picture", tmp_path / "p.png", "--format", "json") == 0


def test_a_name_that_is_not_utf8_can_be_found_again(tmp_path, image, capsys):
    name = os.fsencode(tmp_path) + b"/r\xf6ntgen \xff.cbf"
    try:
        with open(name, "wb") as file:  # noqa: PTH123 - bytes
            file.write(image.read_bytes())
    except OSError:
        pytest.skip("this disk holds no names that are not UTF-8")
    broken = name.replace(b"ntgen", b"ntgen-cut")
    with open(broken, "wb") as file:  # noqa: PTH123 - bytes
        file.write(image.read_bytes()[:500])
    assert run(os.fsdecode(name), os.fsdecode(broken), "--format", "json") == 3
    said = capsys.readouterr().out
    assert said.isascii()
    found = [os.fsencode(json.loads(line)["file"]) for line in said.splitlines()]
    assert found == [name, broken]
    assert run(os.fsdecode(name), "--picture", tmp_path / "p.png") == 0
