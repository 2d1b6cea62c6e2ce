from dataclasses import replace

import pytest

from deepfreak.models import Opinion
from deepfreak.screening.policy import Policy, decide
from deepfreak.screening.verdict import EvidenceSummary

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
CRYSTAL = EvidenceSummary(
    peaks=60,
    off_rings=55,
    strong_off_rings=20,
    ring_share=0.1,
    center_known=True,
    lattice_score=35.0,
    fullest_quarter=0.3,
)
EMPTY = EvidenceSummary(
    peaks=2,
    off_rings=2,
    strong_off_rings=0,
    ring_share=0.0,
    center_known=False,
    lattice_score=0.0,
    fullest_quarter=1.0,
)
YES = Opinion(p_crystal=0.95, second=0.9, probabilities={}, unlike=0.0, farthest="crests")
NO = Opinion(p_crystal=0.05, second=0.1, probabilities={}, unlike=0.0, farthest="crests")


def test_frames_without_a_doubt_stay_in_their_band_and_say_what_they_show():
    decision, reasons = decide(POLICY, 0.95, CRYSTAL, YES)
    assert decision == "keep"
    assert reasons == (
        "60 peaks, 55 off rings, 20 of them strong (z >= 10), that repeat as a lattice (score 35)",
    )
    decision, reasons = decide(POLICY, 0.05, EMPTY, NO)
    assert decision == "discard"
    assert reasons == ("2 peaks, 2 off rings, 0 of them strong (z >= 10)",)
    decision, reasons = decide(POLICY, 0.5, EMPTY, NO)
    assert decision == "unsure"
    assert reasons[0] == "p_crystal 0.5 is between 0.2 and 0.8"


def test_without_evidence_the_score_alone_decides():
    assert decide(POLICY, 0.9) == ("keep", ())
    assert decide(POLICY, 0.1) == ("discard", ())
    assert decide(POLICY, 0.5)[0] == "unsure"


@pytest.mark.parametrize(
    ("signs", "opinion", "said"),
    [
        ({"peaks": 6, "off_rings": 6, "strong_off_rings": 6}, {}, "6 strong peaks"),
        ({"peaks": 30, "strong_off_rings": 5, "fullest_quarter": 0.3}, {}, "no beam centre"),
        ({"peaks": 9, "off_rings": 8, "fullest_quarter": 0.9}, {}, "90% of the peaks off rings"),
        ({}, {"second": 0.6}, "0.05 and 0.60"),
        ({}, {"unlike": 1.5}, "crests lies 1.5 times their range outside it"),
    ],
)
def test_what_keeps_a_frame_from_being_discarded(signs, opinion, said):
    decision, reasons = decide(POLICY, 0.05, replace(EMPTY, **signs), replace(NO, **opinion))
    assert decision == "unsure"
    assert len(reasons) == 1
    assert said in reasons[0]


@pytest.mark.parametrize(
    ("signs", "opinion", "said"),
    [
        ({"center_known": False, "lattice_score": 19.0}, {}, "may lie on rings"),
        ({"ring_share": 0.6}, {}, "60% of the peaks lie on rings"),
        ({"peaks": 3, "off_rings": 3}, {}, "fewer than 4 peaks (3)"),
        ({"fullest_quarter": 0.85}, {}, "85% of the peaks off rings"),
        ({}, {"second": 0.4}, "0.95 and 0.40"),
        ({}, {"unlike": 1.5}, "unlike the training frames"),
    ],
)
def test_what_keeps_a_frame_from_being_kept(signs, opinion, said):
    decision, reasons = decide(POLICY, 0.95, replace(CRYSTAL, **signs), replace(YES, **opinion))
    assert decision == "unsure"
    assert len(reasons) == 1
    assert said in reasons[0]


@pytest.mark.parametrize(
    ("p_crystal", "signs", "opinion"),
    [
        # a lattice excludes rings
        (0.95, {"center_known": False, "lattice_score": 21.0}, YES),
        (0.95, {"center_known": False, "peaks": 29, "lattice_score": 0.0}, YES),
        (0.05, {"peaks": 29, "off_rings": 5, "strong_off_rings": 5, "center_known": False}, NO),
        (0.05, {"peaks": 7, "off_rings": 7, "strong_off_rings": 5, "fullest_quarter": 1.0}, NO),
    ],
)
def test_what_is_no_doubt(p_crystal, signs, opinion):
    decision, _ = decide(POLICY, p_crystal, replace(CRYSTAL, **signs), opinion)
    assert decision != "unsure"


def test_rules_never_swap_and_never_clear():
    doubtful = replace(CRYSTAL, ring_share=0.9, fullest_quarter=0.9, center_known=False)
    for signs in (CRYSTAL, EMPTY, doubtful):
        for second in (0.0, 0.5, 1.0):
            for p_crystal in (0.05, 0.5, 0.95):
                opinion = replace(YES, p_crystal=p_crystal, second=second)
                band = POLICY.decide(p_crystal)
                assert decide(POLICY, p_crystal, signs, opinion)[0] in {band, "unsure"}
