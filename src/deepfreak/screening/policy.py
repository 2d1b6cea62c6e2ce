"""Which frames to keep: thresholds that follow from the accepted loss.

A frame is discarded only if hits score so low so rarely that, with a confidence of 95 %, no more
than the accepted part of all hits is lost. It is kept if frames without a crystal score so high as
rarely as is accepted for these. Frames between the two are unsure. The bounds
are those of Clopper and Pearson (1934), one-sided, which hold for every number of images.

A calibration on frames of other detectors proves nothing about this one. A model of evidence is
calibrated on simulated frames of many detectors, and `decide` makes unsure what its
evidence speaks against. Where it tells hits from misses better than required, frames that score
more than nearly all misses and less than nearly all hits are unsure: no training frame is like
them. A model of prepared images that is not calibrated on this detector discards only what also
scores below `SURELY_NO`, and keeps only from `SURELY_YES`.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from deepfreak.errors import InputError, ModelError
from deepfreak.evidence.lattice import TELLING_SCORE
from deepfreak.models.evidence_model import UNLIKE, Opinion
from deepfreak.models.shipped import SHIPPED
from deepfreak.screening.calibration import Calibration, find_calibration, thresholds
from deepfreak.screening.verdict import STRONG_Z, Decision, EvidenceSummary
from deepfreak.settings import OpenFraction

if TYPE_CHECKING:
    from deepfreak.models import Classifier

CONFIDENCE = 0.95
MIN_HIT_RECALL = 0.995
MAX_EMPTY_KEPT = 0.02
# On varied images the network of version 0.1 discards at most 1 % of hits below the one, and keeps
# about 1 % of misses from the other: decision 0019.
SURELY_NO, SURELY_YES = 0.03, 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Two thresholds on `p_crystal`, and what they promise."""

    # frames that score less are discarded, those that score as much or more are kept
    discard_below: float
    keep_from: float
    min_hit_recall: float  # the part of hits that is not discarded, at the least
    # what was measured: (value, bound); with a confidence of 95 % the truth is better than the
    # bound
    hit_recall: tuple[float, float]
    empty_kept: tuple[float, float]
    # on how many images of which kind
    hits: int
    empties: int
    data: str
    simulated: bool
    of_detector: bool = True  # whether these are of the detector whose frames are decided about
    # share of hits for which `p_crystal` is right; None where the model does not say
    hit_share: float | None = None

    def decide(self, p_crystal: float) -> Decision:
        """Return in which of the three bands a frame lies."""
        if p_crystal < self.discard_below:
            return "discard"
        return "keep" if p_crystal >= self.keep_from else "unsure"

    def promise(self) -> str:
        """Return in a sentence what is known of lost hits, and what that rests on."""
        kind = "simulated frames" if self.simulated else "frames"
        measured = (
            f"measured {1 - self.hit_recall[0]:.3%}, at most {1 - self.hit_recall[1]:.3%} with "
            f"{CONFIDENCE:.0%} confidence, on {self.hits} hits of {kind} ({self.data})"
        )
        prior = "" if self.hit_share is None else f"; p_crystal is for {self.hit_share:.0%} hits"
        if self.of_detector:
            return (
                f"at most {1 - self.min_hit_recall:.3%} of hits are discarded: {measured}; it "
                f"holds for {kind} like these{prior}"
            )
        return (
            f"how many hits of this detector are discarded is not known: {measured}, not on this "
            f"detector; frames that score from {self.discard_below:.3g} to {self.keep_from:.3g}, "
            "or are in doubt, are unsure: saved as hits are, and marked; give --scores FILE to "
            f"have thresholds of this detector{prior}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the values and the promise as JSON."""
        return {
            "discard_below": self.discard_below,
            "keep_from": self.keep_from,
            "min_hit_recall": self.min_hit_recall,
            "hit_recall": list(self.hit_recall),
            "empty_kept": list(self.empty_kept),
            "of_detector": self.of_detector,
            "hit_share": self.hit_share,
            "promise": self.promise(),
        }


def policy_from(
    scores: Calibration,
    *,
    min_hit_recall: float = MIN_HIT_RECALL,
    max_empty_kept: float = MAX_EMPTY_KEPT,
    of_detector: bool = True,
    hit_share: float | None = None,
) -> Policy:
    """Return the policy that discards most within the accepted losses.

    Unless the scores are `of_detector`, one for a model of images also keeps to `SURELY_NO` and
    `SURELY_YES`.

    Raises `InputError`: the images are too few to prove it, or the model is not good enough.
    """
    if not (0 < min_hit_recall < 1 and 0 < max_empty_kept < 1):
        raise InputError("expected accepted losses between 0 and 1, both excluded")
    accepted = 1 - min_hit_recall
    needed = int(np.ceil(np.log(1 - CONFIDENCE) / np.log(min_hit_recall)))
    if scores.hits < needed:
        raise InputError(
            f"a hit recall of {min_hit_recall:.6g} takes at least {needed} labelled hits to prove, "
            f"found {scores.hits} in {scores.data}: ask for less, or give "
            "`deepfreak model calibrate` more images"
        )
    at = thresholds()
    careful = scores.kind == "images" and not of_detector
    lost = np.array(scores.hits_below)
    lost_at_most = _at_most(lost, scores.hits)
    allowed = np.flatnonzero(lost_at_most <= accepted)
    if not len(allowed):
        raise InputError(
            f"a hit recall of {min_hit_recall:.6g} cannot be had: this model scores {lost[0]} of "
            f"{scores.hits} hits below every threshold; ask for less"
        )
    low = int(allowed[-1])
    if careful:
        low = min(low, int(np.searchsorted(at, SURELY_NO, "right")) - 1)
    kept = np.array(scores.empties_from)
    kept_at_most = _at_most(kept, scores.empties)
    clean = np.flatnonzero(kept_at_most <= max_empty_kept)
    # where no threshold is clean, only the very highest scores are kept
    high = int(clean[0]) if len(clean) else len(at) - 1
    if scores.kind == "evidence":
        # between two thresholds that both meet the limits no frame of the calibration scores
        low, high = min(low, high), max(low, high)
    high = max(high, low)
    if careful:
        high = max(high, int(np.searchsorted(at, SURELY_YES)))
    return Policy(
        discard_below=float(at[low]),
        keep_from=float(at[high]),
        min_hit_recall=min_hit_recall,
        hit_recall=(1 - lost[low] / scores.hits, float(1 - lost_at_most[low])),
        empty_kept=(
            float(kept[high] / scores.empties) if scores.empties else 0.0,
            float(kept_at_most[high]),
        ),
        hits=scores.hits,
        empties=scores.empties,
        data=scores.data,
        simulated=scores.simulated,
        of_detector=of_detector,
        hit_share=hit_share,
    )


def find_policy(
    classifier: "Classifier",
    *,
    model: Path | None = None,
    scores: Path | None = None,
    min_hit_recall: OpenFraction = MIN_HIT_RECALL,
    max_empty_kept: OpenFraction = MAX_EMPTY_KEPT,
) -> tuple[Policy, Calibration]:
    """Return the policy for `classifier`, of the file `model`, and its calibration.

    Raises `InputError`: there is no calibration, or it cannot prove the limits.

    Parameters
    ----------
    model
        See `find_calibration`.
    scores
        Calibration of this detector, by `deepfreak model calibrate`; without, more frames are
        unsure.
    min_hit_recall
        Fraction of the labelled hits that is not discarded, at least.
    max_empty_kept
        Fraction of the frames without a crystal that is kept without doubt, at most.
    """
    found, of_detector = find_calibration(model, scores, name=classifier.name)
    policy = policy_from(
        found,
        min_hit_recall=min_hit_recall,
        max_empty_kept=max_empty_kept,
        of_detector=of_detector,
        hit_share=getattr(classifier, "hit_share", None),
    )
    return policy, found


def shipped_policy(classifier: "Classifier") -> Policy | None:
    """Return the policy of the shipped calibrations, None if they are of other models."""
    for name in SHIPPED:
        with suppress(ModelError):
            return find_policy(classifier, model=Path(name))[0]
    return None


def _at_most(found: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    """Return the upper bound of the part of which `found` of `total` were counted."""
    bound: NDArray[np.float64] = np.where(
        found >= total, 1.0, betaincinv(found + 1, np.maximum(total - found, 1), CONFIDENCE)
    )
    return bound


# When a frame is unsure at any score: rules that a crystallographer can read. A rule never keeps
# and never discards, it only takes a frame out of "keep" or "discard": so the losses that a policy
# promises stay as they are, or become smaller.

_STRONG_PEAKS = 6
_FEWEST_PEAKS = 4  # of a frame to keep
_MANY_PEAKS = 30  # enough to show rings, if the centre is known
_IN_A_QUARTER, _SPREAD_PEAKS = 0.8, 8  # share of the peaks, and their least number
_ON_RINGS = 0.5
_EVEN = 0.5  # odds of one to one

Condition = Callable[[EvidenceSummary, Opinion], bool]


@dataclass(frozen=True, slots=True)
class _Rule:
    """Frames in a band (None: keep and discard) that meet `condition` are unsure.

    The sentence `because` may use the frame's numbers and the model's opinion.
    """

    band: Decision | None
    condition: Condition
    because: str


def _centre_missing(signs: EvidenceSummary, _: Opinion) -> bool:
    return signs.peaks >= _MANY_PEAKS and not signs.center_known


_OTHER = "the two opinions differ: p_crystal {opinion.p_crystal:.2f} and {opinion.second:.2f}"

_RULES = (
    _Rule(
        "discard",
        lambda signs, _: signs.strong_off_rings >= _STRONG_PEAKS,
        f"{{signs.strong_off_rings}} strong peaks (z >= {STRONG_Z:g}) lie on no ring",
    ),
    _Rule(
        "discard",
        _centre_missing,
        "{signs.peaks} peaks, and no beam centre to tell rings from a crystal",
    ),
    _Rule(
        "keep",
        lambda signs, opinion: (
            _centre_missing(signs, opinion) and signs.lattice_score < TELLING_SCORE
        ),
        "{signs.peaks} peaks may lie on rings: no beam centre, no lattice "
        "(score {signs.lattice_score:.0f})",
    ),
    _Rule(
        "keep",
        lambda signs, _: signs.ring_share > _ON_RINGS,
        "{signs.ring_share:.0%} of the peaks lie on rings",
    ),
    _Rule(
        "keep",
        lambda signs, _: signs.peaks < _FEWEST_PEAKS,
        f"fewer than {_FEWEST_PEAKS} peaks ({{signs.peaks}})",
    ),
    _Rule(
        None,
        lambda signs, _: (
            signs.off_rings >= _SPREAD_PEAKS and signs.fullest_quarter >= _IN_A_QUARTER
        ),
        "{signs.fullest_quarter:.0%} of the peaks off rings lie in one quarter of the frame",
    ),
    _Rule("keep", lambda _, opinion: opinion.second < _EVEN, _OTHER),
    _Rule("discard", lambda _, opinion: opinion.second >= _EVEN, _OTHER),
    _Rule(
        None,
        lambda _, opinion: opinion.unlike > UNLIKE,
        "unlike the training frames: {opinion.farthest} lies {opinion.unlike:.1f} times their "
        "range outside it",
    ),
)


def decide(
    policy: Policy,
    p_crystal: float,
    signs: EvidenceSummary | None = None,
    opinion: Opinion | None = None,
) -> tuple[Decision, tuple[str, ...]]:
    """Return what to do with a frame, and why, in sentences that can be checked.

    Without `signs` and `opinion`, as of a model of prepared images, the score alone decides.
    """
    band = policy.decide(p_crystal)
    seen = () if signs is None else (_seen(signs),)
    if band == "unsure":
        between = f"{policy.discard_below:.3g} and {policy.keep_from:.3g}"
        return band, (f"p_crystal {p_crystal:.3g} is between {between}", *seen)
    if signs is None or opinion is None:
        return band, ()
    against = tuple(
        rule.because.format(signs=signs, opinion=opinion)
        for rule in _RULES
        if rule.band in {band, None} and rule.condition(signs, opinion)
    )
    return ("unsure", against) if against else (band, seen)


def _seen(signs: EvidenceSummary) -> str:
    """Return what a frame shows, as a sentence."""
    if signs.peaks == 0:
        return "no peaks"
    found = (
        f"{signs.peaks} peak{'s' if signs.peaks > 1 else ''}, {signs.off_rings} off rings, "
        f"{signs.strong_off_rings} of them strong (z >= {STRONG_Z:g})"
    )
    if signs.lattice_score >= TELLING_SCORE:
        found += f", that repeat as a lattice (score {signs.lattice_score:.0f})"
    return found
