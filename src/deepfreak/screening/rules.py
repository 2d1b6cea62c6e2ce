"""When a frame is unsure at any score: rules that a crystallographer can read.

A rule never keeps and never discards; it only takes a frame out of "keep" or "discard". So the
losses that a policy promises stay as they are, or become smaller.
"""

from collections.abc import Callable
from dataclasses import dataclass

from deepfreak.evidence.lattice import TELLING_SCORE
from deepfreak.models.evidence_model import UNLIKE, Opinion
from deepfreak.screening.policy import Policy
from deepfreak.screening.verdict import STRONG_Z, Decision, EvidenceSummary

_STRONG_PEAKS = 6
_FEWEST_PEAKS = 4  # of a frame to keep
_MANY_PEAKS = 30  # enough to show rings, if the centre is known
_IN_A_QUARTER, _SPREAD_PEAKS = 0.8, 8  # share of the peaks, and their least number
_ON_RINGS = 0.5
_EVEN = 0.5  # odds of one to one

Condition = Callable[[EvidenceSummary, Opinion], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Frames in the band `band` that meet `condition` are unsure; `because` may use their signs."""

    band: Decision
    condition: Condition
    because: str


def _in_one_quarter(signs: EvidenceSummary, _: Opinion) -> bool:
    return signs.off_rings >= _SPREAD_PEAKS and signs.fullest_quarter >= _IN_A_QUARTER


def _unlike(_: EvidenceSummary, opinion: Opinion) -> bool:
    return opinion.unlike > UNLIKE


def _centre_missing(signs: EvidenceSummary, _: Opinion) -> bool:
    return signs.peaks >= _MANY_PEAKS and not signs.center_known


_QUARTER = "{signs.fullest_quarter:.0%} of the peaks off rings lie in one quarter of the frame"
_FAR = (
    "unlike the training frames: {opinion.farthest} lies {opinion.unlike:.1f} times their range "
    "outside it"
)
_OTHER = "the two opinions differ: p_crystal {opinion.p_crystal:.2f} and {opinion.second:.2f}"

_RULES = (
    _Rule(
        band="discard",
        condition=lambda signs, _: signs.strong_off_rings >= _STRONG_PEAKS,
        because=f"{{signs.strong_off_rings}} strong peaks (z >= {STRONG_Z:g}) lie on no ring",
    ),
    _Rule(
        band="discard",
        condition=_centre_missing,
        because="{signs.peaks} peaks, and no beam centre to tell rings from a crystal",
    ),
    _Rule(
        band="keep",
        condition=lambda signs, opinion: (
            _centre_missing(signs, opinion) and signs.lattice_score < TELLING_SCORE
        ),
        because="{signs.peaks} peaks may lie on rings: no beam centre, no lattice "
        "(score {signs.lattice_score:.0f})",
    ),
    _Rule(
        band="keep",
        condition=lambda signs, _: signs.ring_share > _ON_RINGS,
        because="{signs.ring_share:.0%} of the peaks lie on rings",
    ),
    _Rule(
        band="keep",
        condition=lambda signs, _: signs.peaks < _FEWEST_PEAKS,
        because=f"fewer than {_FEWEST_PEAKS} peaks ({{signs.peaks}})",
    ),
    _Rule(band="keep", condition=_in_one_quarter, because=_QUARTER),
    _Rule(band="discard", condition=_in_one_quarter, because=_QUARTER),
    _Rule(band="keep", condition=lambda _, opinion: opinion.second < _EVEN, because=_OTHER),
    _Rule(band="discard", condition=lambda _, opinion: opinion.second >= _EVEN, because=_OTHER),
    _Rule(band="keep", condition=_unlike, because=_FAR),
    _Rule(band="discard", condition=_unlike, because=_FAR),
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
    reasons = []
    if band == "unsure":
        reasons.append(
            f"p_crystal {p_crystal:.3g} is between {policy.discard_below:.3g} and "
            f"{policy.keep_from:.3g}"
        )
    if signs is None or opinion is None:
        return band, tuple(reasons)
    doubts = [
        doubt.because.format(signs=signs, opinion=opinion)
        for doubt in _RULES
        if doubt.band == band and doubt.condition(signs, opinion)
    ]
    if doubts:
        return "unsure", tuple(doubts)
    return band, (*reasons, _seen(signs))


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
