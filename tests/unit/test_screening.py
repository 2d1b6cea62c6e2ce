import numpy as np
import pytest

from deepfreak.errors import ModelError
from deepfreak.frames import Frame, find_files
from deepfreak.screening import Failure, Screener, Verdict, screen_files
from tests.unit.frames import made

CLASSES = ("blank", "no-crystal", "weak", "good", "strong")


class Brightness:
    """A model that takes the mean of the valid pixels for a verdict."""

    name = "brightness"
    classes = CLASSES

    def probabilities(self, images, valid=None):
        rows = []
        for image, where in zip(images, valid, strict=True):
            row = np.full(5, 0.05)
            row[min(4, int(image[where].mean()) // 4)] = 0.8
            rows.append(row)
        return np.array(rows)


class Confused(Brightness):
    def probabilities(self, images, valid=None):
        return super().probabilities(images, valid) * np.nan


class Broken(Brightness):
    def probabilities(self, *_):
        raise IndexError


def frame(level):
    counts = np.full((512, 512), level)
    return Frame(file="a.cbf", index=3, counts=counts, valid=np.ones(counts.shape, bool))


def test_a_verdict_is_the_most_probable_class_with_all_probabilities():
    verdict = Screener(Brightness())(frame(150))
    assert (verdict.file, verdict.frame, verdict.label) == ("a.cbf", 3, "good")
    assert verdict.probabilities == pytest.approx(
        {"blank": 0.05, "no-crystal": 0.05, "weak": 0.05, "good": 0.8, "strong": 0.05}
    )
    assert verdict.p_crystal == pytest.approx(0.9)
    assert verdict.ms > 0
    assert (verdict.image == 12).all()


def test_missing_pixels_do_not_reach_the_model():
    counts = made.photons(mean=200)
    valid = np.ones(counts.shape, bool)
    valid[40:60] = False
    dark = Frame(file="a", index=0, counts=np.where(valid, counts, 0), valid=valid)
    assert Screener(Brightness())(dark).label == "good"


def test_an_unreadable_file_or_frame_fails_alone(tmp_path):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons()))
    (tmp_path / "b.cbf").write_bytes(made.cbf(made.photons())[:900])
    (tmp_path / "c.cbf").write_bytes(made.cbf(np.full((5, 5), 3)))
    made.eiger(tmp_path, np.stack([made.photons()] * 4).astype(np.uint16), name="d")
    (tmp_path / "d_data_000002.h5").unlink()
    results = list(screen_files(find_files([tmp_path]), Screener(Brightness())))
    assert [(r.file[-11:], r.frame, type(r)) for r in results] == [
        (str(tmp_path / "a.cbf")[-11:], 0, Verdict),
        (str(tmp_path / "b.cbf")[-11:], 0, Failure),
        (str(tmp_path / "c.cbf")[-11:], 0, Failure),
        ("d_master.h5", 0, Verdict),
        ("d_master.h5", 1, Verdict),
        ("d_master.h5", 2, Failure),
    ]
    assert all("\n" not in r.error for r in results if isinstance(r, Failure))


def test_a_file_that_cannot_be_opened_fails_without_a_frame_number(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "empty").mkdir()
    files = [tmp_path / "a.h5", tmp_path / "none.cbf", *find_files([tmp_path / "empty"])]
    results = list(screen_files(files, Screener(Brightness())))
    assert [r.frame for r in results] == [None, None, None]
    assert "found nothing of this name" in results[1].error
    assert "expected detector images in this folder, found none" in results[2].error


def test_a_model_that_gives_no_numbers_is_not_believed():
    with pytest.raises(ModelError, match="expected probabilities"):
        Screener(Confused())(frame(10))


def test_a_bug_of_the_models_is_not_taken_for_a_bad_file(tmp_path):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons()))
    with pytest.raises(IndexError):
        list(screen_files([tmp_path / "a.cbf"], Screener(Broken())))
