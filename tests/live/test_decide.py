from dataclasses import replace

import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Frame
from deepfreak.live.decide import FrameDecider, FrameJob, is_saturated
from deepfreak.live.messages import SeriesBegan
from deepfreak.live.receive.decoders import SERIES_KNOWN, Decoders
from deepfreak.screening.policy import Policy
from tests.evidence_models import hit, made_model

POLICY = Policy(
    discard_below=0.2,
    keep_from=0.8,
    min_hit_recall=0.99,
    hit_recall=(1.0, 1.0),
    empty_kept=(0.0, 0.0),
    hits=1,
    empties=1,
    data="d",
    simulated=True,
)


class Fixed:
    """A model with a constant prediction."""

    name = "fixed"
    classes = ("blank", "no-crystal", "weak", "good", "strong")

    def __init__(self, p_crystal: float) -> None:
        self.row = np.array([0, 1 - p_crystal, p_crystal, 0, 0.0])

    def probabilities(self, images, valid=None, *, workers=1):
        return np.tile(self.row, (len(images), 1))


class Given(Decoders):
    """Gives one frame, or an error."""

    def __init__(self, frame) -> None:
        super().__init__()
        self.given = frame

    def frame(self, series, payload, number):
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


def frame_of(counts, **metadata) -> Frame:
    return Frame(
        file="f", index=0, counts=counts, valid=np.ones(counts.shape, np.bool_), **metadata
    )


def judge(frame, p_crystal=0.9, **options) -> FrameDecider:
    return FrameDecider(model=Fixed(p_crystal), policy=POLICY, decoders=Given(frame), **options)


JOB = FrameJob(series="s", number=3, path=None, received=1.0, truth={"label": "weak"})


@pytest.mark.parametrize(
    ("p_crystal", "decision"), [(0.1, "discard"), (0.5, "unsure"), (0.9, "keep")]
)
def test_the_policy_decides(p_crystal, decision):
    flat = frame_of(np.full((512, 512), 90, np.uint16))
    outcome = judge(flat, p_crystal)(JOB)
    assert outcome.decision == decision
    assert outcome.p_crystal == pytest.approx(p_crystal)
    assert outcome.level == 10.0  # the root of 90 + 10
    assert (outcome.series, outcome.number, outcome.truth) == ("s", 3, {"label": "weak"})
    assert outcome.peaks is outcome.picture is None


def test_peaks_are_where_the_frame_has_them():
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (1100, 1040)).astype(np.uint32)
    places = rng.integers(150, 880, (20, 2))
    for slow, fast in places:
        counts[slow : slow + 4, fast : fast + 4] += 60
    outcome = judge(frame_of(counts), peaks=True)(JOB)
    found = np.stack([outcome.peaks.slow, outcome.peaks.fast], axis=1)
    distance = np.linalg.norm(found[:, None] - (places + 2)[None], axis=2)
    assert len(found) >= 18
    assert distance.min(axis=1).max() < 2  # of a peak to the nearest place
    # an unsure frame is saved with its peaks; what is not saved needs none
    assert len(judge(frame_of(counts), 0.5, peaks=True)(JOB).peaks) == len(found)
    assert judge(frame_of(counts), 0.1, peaks=True)(JOB).peaks is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FrameError("expected a frame, found none"), "expected a frame, found none"),
        (ZeroDivisionError("in\nsome library"), "ZeroDivisionError: in some library"),
        (ValueError("x" * 10_000), "ValueError: xxx"),
        (MemoryError(), "reading it takes more memory than a frame may"),
    ],
)
def test_whatever_is_wrong_with_a_frame_is_its_outcome(error, said):
    outcome = judge(error)(JOB)
    assert outcome.decision == "unreadable"
    assert outcome.error.startswith(said)
    assert len(outcome.error) <= 300
    assert outcome.p_crystal is outcome.label is None


def test_a_frame_is_saturated_if_more_than_some_spots_are():
    counts = np.full((512, 512), 10, np.uint16)
    counts[:5, :10] = 60_000
    assert not is_saturated(frame_of(counts, saturation=60_000))
    counts[:5, :11] = 60_000
    assert is_saturated(frame_of(counts, saturation=60_000))
    assert not is_saturated(frame_of(counts, saturation=60_001))
    assert not is_saturated(frame_of(counts))
    # what is no measurement does not count
    valid = counts < 60_000
    missing = Frame(file="f", index=0, counts=counts, valid=valid, saturation=60_000)
    assert not is_saturated(missing)


def test_frames_of_a_series_that_never_began_are_refused():
    decoders = Decoders()
    with pytest.raises(FrameError, match="series that has begun"):
        decoders.frame("s", b"", 0)
    for number in range(SERIES_KNOWN + 1):
        decoders.begin(SeriesBegan(series=str(number), kind="shot"))
    assert len(decoders._began) == SERIES_KNOWN


def test_a_model_of_evidence_gives_peaks_in_pixels_of_the_frame_and_why():
    shown = hit(np.random.default_rng(3), shape=(700, 1500), beam_center_px=(350.0, 750.0))
    known = FrameDecider(model=made_model(), policy=POLICY, decoders=Given(shown), peaks=True)
    outcome = known(replace(JOB, picture=True))
    assert outcome.decision == "keep"
    assert len(outcome.peaks) == outcome.signs.peaks >= 30
    assert outcome.reasons[0].startswith(f"{outcome.signs.peaks} peaks")
    # a spot's light is at its peak, also far from the middle that the picture shows
    assert outcome.peaks.fast.max() > 1400
    places = np.stack([outcome.peaks.slow, outcome.peaks.fast], axis=1).astype(int)
    assert (shown.counts[tuple(places.T)] > 20).all()
    assert (outcome.peaks.height_sigma >= 5).all()
    assert len(outcome.picture.peaks) == len(outcome.peaks)
    assert outcome.level == 0.0  # like the training frames
    assert known(JOB).picture is None
