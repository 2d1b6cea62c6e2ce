"""Networks on real images, beside the paper's: Tables 7, 15 and 17, with forest and SVM."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfreak.datasets import Dataset
from deepfreak.features import LBP
from deepfreak.models import SVM, Forest
from deepfreak.models.evaluation import Evaluation
from deepfreak.networks import FOR_PREPROCESSED_IMAGES, FOR_RAW_IMAGES, Configuration
from paper import paper
from paper.classical import PAPER_FOREST, PAPER_SVM
from paper.contenders import Contender
from paper.network_tables import Line, accuracy_table, best_on_real
from paper.record import Table
from paper.runs import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class ForReal:
    """What the paper chose on real validation images, and the table that says so."""

    table: int
    network: Configuration
    forest: Contender
    svm: Contender


# Tables 14 to 17.
FOR_REAL = {
    "raw": ForReal(
        table=15,
        network=FOR_RAW_IMAGES,
        forest=Contender(
            name="LBP + forest, Table 14",
            extractor=LBP(points=16, radius=1),
            classifier=Forest(
                trees=10, max_depth=20, max_features=0.5, class_weight=(0.35, 0.35, 0.1, 0.1, 0.1)
            ),
        ),
        svm=Contender(
            name="LBP + SVM, Table 14",
            extractor=LBP(points=24, radius=1),
            classifier=SVM(C=1.0, gamma=2.0**-9, class_weight="balanced"),
        ),
    ),
    "preprocessed": ForReal(
        table=17,
        network=FOR_PREPROCESSED_IMAGES,
        forest=Contender(
            name="LBP + forest, Table 16",
            extractor=LBP(points=24, radius=2),
            classifier=Forest(trees=100, max_depth=4, max_features=0.75, class_weight="balanced"),
        ),
        svm=Contender(
            name="LBP + SVM, Table 16",
            extractor=LBP(points=24, radius=1),
            classifier=SVM(C=2.0**15, gamma=2.0**-7),
        ),
    ),
}


def real_tables(
    variant: str,
    path: Path,
    *,
    before: Runs,
    after: Runs,
    device: str | None,
    taught: Callable[[Contender, Dataset], Evaluation],
    searched: Mapping[str, Any] | None,
) -> Iterator[Table]:
    """Yield Table 7 with all three classifiers, and Table 15 or 17, for one variant.

    Parameters
    ----------
    path
        The variant's real images.
    before, after
        The networks that the paper chose on synthetic and on real images.
    taught
        Returns what a forest or an SVM, taught the synthetic images, says of others.
    searched
        Results of `model search cnn` on these real images, if there are any.
    """
    chosen = FOR_REAL[variant]
    with Dataset.open(path) as every, Dataset.open(path, split="test") as test:
        lines = [
            Line(
                name=contender.name,
                published=getattr(published[contender.classifier.name], variant),
                evaluations=(taught(contender, images),),
            )
            for contender, images, published in (
                (PAPER_FOREST, every, paper.TABLE_7_BEFORE),
                (chosen.forest, test, paper.TABLE_7_AFTER),
                (PAPER_SVM, every, paper.TABLE_7_BEFORE),
                (chosen.svm, test, paper.TABLE_7_AFTER),
            )
        ]
        lines += [
            Line(
                name=runs.candidate.name,
                published=getattr(published["network"], variant),
                evaluations=runs.judge(images, device=device, only=[runs.chosen]),
            )
            for runs, images, published in (
                (before, every, paper.TABLE_7_BEFORE),
                (after, test, paper.TABLE_7_AFTER),
            )
        ]
    yield accuracy_table(
        f"Table 7: {variant} real images, all three classifiers, accuracy (%)",
        lines,
        remarks=(
            (
                "Taught synthetic images only. The first of each pair was chosen by the paper on "
                "synthetic images, the second on real validation images. The paper's 457 real "
                "images are not these: compare with care."
            ),
        ),
    )
    yield best_on_real(chosen.table, chosen.network, searched)
