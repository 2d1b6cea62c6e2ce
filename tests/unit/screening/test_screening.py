from dataclasses import replace

import numpy as np
import pytest

from deepfreak.errors import FrameError, ModelError
from deepfreak.formats import Frame, find_files
from deepfreak.models import load_model
from deepfreak.screening.policy import find_policy
from deepfreak.screening.screener import Screener, screen_files
from deepfreak.screening.verdict import Failure, Verdict
from tests.evidence_models import hit, miss, powder, save_made_model
from tests.unit.formats import made
from tests.unit.screening.test_rules import POLICY

CLASSES = ("blank", "no-crystal", "weak", "good", "strong")


class Brightness:
    """A model whose score is the mean of the valid pixels."""

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


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    """A screener with a model of evidence and the thresholds of its scores."""
    path = save_made_model(tmp_path_factory.mktemp("evidence"))
    model = load_model(path)
    return Screener(model, find_policy(model, model=path)[0], pictures=True)


def rng(seed=7):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shape", [(320, 320), (200, 900), (1100, 700)])
def test_a_hit_is_kept_at_any_size_with_its_peaks_in_pixels_of_the_frame(evidence, shape):
    shown = hit(rng(), shape=shape)
    verdict = evidence(shown)
    assert verdict.decision == "keep"
    assert verdict.label == "diffraction"
    assert verdict.signs.peaks == len(verdict.peaks) >= 30
    assert verdict.peaks.slow.max() > 0.8 * shape[0]
    assert verdict.peaks.fast.max() > 0.8 * shape[1]
    # on the picture each mark lies where the frame's light is
    place = verdict.overlay.peaks * verdict.factor + verdict.origin
    np.testing.assert_allclose(place[:, 0], verdict.peaks.slow)
    np.testing.assert_allclose(place[:, 1], verdict.peaks.fast)


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((400, 400), np.uint16),
        np.full((400, 400), 65535, np.uint16),
        np.full((400, 400), 7, np.int32),
        np.full((400, 400), 0.25, np.float32),
    ],
)
def test_constant_frames_are_never_kept(evidence, counts):
    verdict = evidence(Frame(file="f", index=0, counts=counts, valid=np.ones(counts.shape, bool)))
    assert verdict.decision != "keep"
    assert verdict.signs.peaks == 0


def test_rings_are_not_kept_and_drawn_where_the_centre_is_known(evidence):
    given = evidence(powder(rng()))
    assert given.decision != "keep"
    assert given.signs.ring_share > 0.5
    radii = given.overlay.rings[:, 2] * given.factor
    assert min(abs(radii - 90)) < 4
    center = given.overlay.rings[0, :2] * given.factor + given.origin
    assert center == pytest.approx([160, 160])
    assert evidence(powder(rng(), given=False)).decision != "keep"


def test_the_decision_is_the_same_whether_anybody_looks_and_at_any_scale(evidence):
    blind = replace(evidence, pictures=False)
    for shown in (hit(rng()), powder(rng()), miss(rng()), miss(rng(), hot=300)):
        seen, unseen = evidence(shown), blind(shown)
        assert unseen.image is unseen.overlay is None
        scaled = blind(replace(shown, counts=shown.counts * 4 + 1000))
        for other in (unseen, scaled):
            assert other.decision == seen.decision
            assert other.p_crystal == pytest.approx(seen.p_crystal, abs=0.02)


def test_labels_and_decisions_do_not_contradict_each_other(evidence):
    for seed in range(4):
        for made_by in (hit, powder, miss):
            verdict = evidence(made_by(rng(seed)))
            crystal = verdict.label == "diffraction"
            if verdict.decision == "unsure":
                assert crystal == (verdict.p_crystal >= 0.5)
            else:
                assert crystal == (verdict.decision == "keep")
            assert verdict.reasons


def test_of_image_models_too_the_label_follows_the_decision():
    policy = replace(POLICY, discard_below=0.95, keep_from=0.97)
    verdict = Screener(Brightness(), policy)(frame(150))
    assert (verdict.decision, verdict.label) == ("discard", "blank")
    assert Screener(Brightness())(frame(150)).decision is None


def test_hardly_any_valid_pixels_are_an_error_of_the_frame(evidence):
    shown = hit(rng(), shape=(1000, 1000))
    valid = np.zeros(shown.counts.shape, bool)
    valid[:63, :63] = True
    with pytest.raises(FrameError, match="measured pixels"):
        evidence(replace(shown, valid=valid))
    valid[:90, :90] = True
    with pytest.raises(FrameError, match="inverted"):
        evidence(replace(shown, valid=valid))


def test_a_frame_whose_middle_is_missing_has_a_verdict_but_no_picture(evidence):
    shown = hit(rng(), shape=(520, 1600))
    valid = np.ones(shown.counts.shape, bool)
    valid[:, 500:1100] = False
    verdict = evidence(replace(shown, valid=valid))
    assert verdict.decision is not None
    assert verdict.image is verdict.overlay is None
