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


@dataclass(frozen=True, slots=True)
class _Rule:
    """Frames in a band (None: keep and discard) that meet `condition` are unsure.

    The sentence `because` may use the frame's numbers and the model's opinion.
    """

    band: Decision | None
    condition: Condition
    because: str


def _in_one_quarter(signs: EvidenceSummary, _: Opinion) -> bool:
    return signs.off_rings >= _SPREAD_PEAKS and signs.fullest_quarter >= _IN_A_QUARTER


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
        _in_one_quarter,
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
