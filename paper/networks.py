"""Fig. 3 and 4, Tables 5, 6, 11, section 4.3; with real images Tables 7, 15, 17; for networks.

Train the paper's configurations on synthetic images, at full or at a reduced scale -> ask them, the
paper's forest and SVM, and our own network about the test images -> tables and plots.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepfreak.datasets import Dataset
from deepfreak.models.evaluation import Evaluation, format_percent
from deepfreak.networks import (
    CONFIGURATION_A,
    CONFIGURATION_B,
    CONFIGURATION_C,
    Configuration,
    Inputs,
    Topology,
)
from deepfreak.networks.curve import curve_figure
from deepfreak.reports.networks import mean_curves_figure
from deepfreak.search.cnn import first_images
from deepfreak.search.cnn_plan import narrowed
from deepfreak.settings import Count, settings
from paper import paper
from paper.classical import PAPER_FOREST, PAPER_SVM
from paper.contenders import Contender
from paper.contenders import judge as judge_classical
from paper.network_tables import (
    NORMALISED,
    Line,
    accuracy_table,
    compared,
    plain_table,
    table_11,
)
from paper.real_networks import FOR_REAL, real_tables
from paper.record import Record, confusion_table
from paper.runs import Candidate, Progress, Trainer, hardware, our_network

if TYPE_CHECKING:
    from deepfreak.features.cache import FeatureCache
    from deepfreak.reports.figures import Figure

PLAIN_SIDE = 224


@settings
class Scale:
    """How much of the paper's work is done; the defaults are all of it.

    Parameters
    ----------
    filters
        The most that a topology of the paper has; None for as many as Table 9 says.
    train, validation, test
        The most images of each split; None for all.
    epochs, runs
        Of each of the paper's configurations.
    our_epochs
        Of our network; None for as many as its recipe says.
    normalise
        By what the paper's networks do; see `Topology`.
    precision
        Of their convolutions; see `Training`.
    """

    filters: Count | None = None
    train: Count | None = None
    validation: Count | None = None
    test: Count | None = None
    epochs: Count = 180
    runs: Count = 5
    our_epochs: Count | None = None
    normalise: Literal["batch", "image"] = "batch"
    precision: Literal["float32", "bf16"] = "float32"

    @property
    def images(self) -> dict[str, int | None]:
        """How many images of each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def reduced(self) -> bool:
        """Whether it is less than the paper's."""
        limits = (self.filters, self.our_epochs, *self.images.values())
        whole = Scale()
        return any(limits) or self.epochs < whole.epochs or self.runs < whole.runs


FULL_SCALE = Scale()
# An hour or two of two cores; 64 filters would take months.
CPU_SCALE = Scale(filters=8, train=600, validation=300, test=1200, epochs=5, runs=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to make the tables from.

    Attributes
    ----------
    data
        DiffraNet, with its three splits.
    work
        Folder of the trainings, which are gone on with where they exist.
    real
        Sets of real images by variant, `raw` and `preprocessed`; each with the split `test`.
    searches
        Results of `model search cnn` to stand beside the paper's choices, by what they were chosen
        on: `synthetic`, `raw` or `preprocessed`.
    """

    data: Path
    work: Path
    cache: "FeatureCache"
    scale: Scale = FULL_SCALE
    real: Mapping[str, Path] = field(default_factory=dict)
    searches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str | None = None
    workers: int = 1


def scaled(name: str, configuration: Configuration, scale: Scale) -> Candidate:
    """Return a configuration of the paper at `scale`."""
    return Candidate(
        name=name,
        architecture=replace(
            narrowed(configuration.topology, scale.filters), normalise=scale.normalise
        ),
        training=replace(configuration.training, epochs=scale.epochs, precision=scale.precision),
    )


def plain_resnet(scale: Scale) -> Candidate:
    """Return section 4.3's ResNet-50 on shrunk images, trained as configuration B is."""
    inputs = Inputs(shrink_to=PLAIN_SIDE)
    plain = Configuration(
        topology=Topology(), training=replace(CONFIGURATION_B.training, inputs=inputs)
    )
    return scaled("plain ResNet-50 at 224 x 224", plain, scale)


def make_record(
    request: Request,
    *,
    command: str,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> "tuple[Record, list[Figure]]":
    """Train, judge, and return the tables and the plots.

    Parameters
    ----------
    progress, say
        Get what is shown meanwhile: bars, and a line for each training.

    Raises
    ------
    DatasetError
        A file or a split is missing, or lacks a class.
    OutputError
        `work` holds trainings on other images, or cannot be written.
    """
    scale = request.scale
    a, b, c = (
        scaled("configuration A", CONFIGURATION_A, scale),
        scaled("configuration B", CONFIGURATION_B, scale),
        scaled("configuration C", CONFIGURATION_C, scale),
    )
    plain = plain_resnet(scale)
    for_real = {
        variant: scaled(
            f"network, Table {FOR_REAL[variant].table}", FOR_REAL[variant].network, scale
        )
        for variant in request.real
    }
    with ExitStack() as stack:
        train, validation, test = (
            first_images(stack.enter_context(Dataset.open(request.data, split=split)), count)
            for split, count in scale.images.items()
        )
        ours = our_network(train, epochs=scale.our_epochs)
        planned = dict.fromkeys((a, b, c), scale.runs)
        planned |= dict.fromkeys((plain, ours, *for_real.values()), 1)
        trainer = Trainer(
            train=train,
            validation=validation,
            work=request.work,
            planned=planned,
            device=request.device,
            progress=progress,
            say=say,
        )
        runs = {each: trainer.runs(each) for each in planned}
        say("judging the test images")
        judged = {each: runs[each].judge(test, device=request.device) for each in (b, plain, ours)}
        judged_by_image = (
            runs[b].judge(test, device=request.device, by_image=True)
            if scale.normalise == "batch"
            else ()
        )

        def taught(contender: Contender, data: Dataset) -> Evaluation:
            """Return what a forest or an SVM, taught the same images, says of `data`."""
            found = judge_classical(
                contender,
                train,
                {"all": data},
                cache=request.cache,
                seeds=1,
                workers=request.workers,
            )
            return found["all"].first

        forest, svm = (
            Line(
                name=each.name,
                published=paper.TABLE_5[each.classifier.name],
                evaluations=(taught(each, test),),
            )
            for each in (PAPER_FOREST, PAPER_SVM)
        )
        real = [
            table
            for variant, after in ((name, runs[each]) for name, each in for_real.items())
            for table in real_tables(
                variant,
                request.real[variant],
                before=runs[b],
                after=after,
                device=request.device,
                taught=taught,
                searched=request.searches.get(variant),
            )
        ]
    shape = {"classes": len(train.classes), "side": int(train.images.shape[1])}
    deepfreak = Line(
        name="DeepFreak (configuration B)",
        published=paper.TABLE_5["network"],
        evaluations=judged[b],
        chosen=runs[b].chosen,
        multiply_adds=b.multiply_adds(**shape),
    )
    as_it_learned = replace(
        deepfreak,
        name="the same, each image normalised by itself",
        published=None,
        evaluations=judged_by_image,
    )
    by_image = (as_it_learned,) if judged_by_image else ()
    own = Line(name=ours.name, evaluations=judged[ours], multiply_adds=ours.multiply_adds(**shape))
    record = Record(
        name="networks",
        title="The paper's networks on our DiffraNet",
        command=command,
        summary=(
            scale_told(scale, train, validation, test, device=request.device),
            (
                f"Configuration B: {format_percent(deepfreak.evaluation.accuracy).strip()} % of "
                f"{len(test):,} test images (the paper's: {deepfreak.published:.2f} %); our "
                f"network: {format_percent(own.evaluation.accuracy).strip()} %."
            ),
            "The learning curves of Fig. 3 and 4 are in curves.html.",
        ),
        tables=(
            accuracy_table(
                "Table 5: accuracy on the test images (%)",
                (forest, svm, deepfreak, *by_image, own),
                remarks=(
                    (
                        "Of B's runs the one of the highest validation accuracy was chosen. Forest "
                        "and SVM have the paper's settings and learned the same images."
                    ),
                    *((NORMALISED,) if by_image else ()),
                    *(compared(own, line) for line in (deepfreak, *by_image)),
                ),
            ),
            confusion_table(
                "Table 6: configuration B, test images",
                deepfreak.evaluation,
                paper.TABLE_6_NETWORK,
            ),
            confusion_table("Beyond the paper: our network, test images", own.evaluation),
            table_11((runs[a], runs[b], runs[c]), request.searches.get("synthetic")),
            plain_table(runs[plain], judged[plain][0], runs[b]),
            *real,
        ),
        facts={
            "scale": asdict(scale),
            "curves": {
                each.name: {
                    "validation": found.validation.tolist(),
                    "training": found.training.tolist(),
                }
                for each, found in runs.items()
            },
            "evaluations": {
                each.name: [evaluation.to_json() for evaluation in found]
                for each, found in judged.items()
            },
            "configuration B, each image normalised by itself": [
                evaluation.to_json() for evaluation in judged_by_image
            ],
        },
        data_set=own.evaluation.data_set,
    )
    figures = [
        mean_curves_figure(
            {each.name: runs[each].validation for each in (a, b, c)},
            title="Fig. 3: configurations A, B, C on the validation images",
        ),
        curve_figure(
            runs[b].histories[runs[b].chosen],
            title="Fig. 4: configuration B, the run that was chosen",
        ),
        curve_figure(runs[ours].histories[0], title="Our network"),
    ]
    return record, figures


def scale_told(
    scale: Scale, train: Dataset, validation: Dataset, test: Dataset, *, device: str | None
) -> str:
    """Return in one line how much of the paper's work a record stands for, and on what."""
    counts = (
        f"{len(train):,} training, {len(validation):,} validation and {len(test):,} test images"
    )
    each = f"{scale.epochs} epochs, {scale.runs} run{'s' if scale.runs > 1 else ''} each"
    where = f"on {hardware(device)}"
    if scale.normalise == "image":
        where += "; unlike the paper's, networks normalise each image by itself"
    if scale.precision == "bf16":
        where += "; convolutions in bf16"
    if not scale.reduced:
        return f"Full scale: the paper's widths, {counts}, {each}, {where}."
    width = "the paper's widths" if scale.filters is None else f"at most {scale.filters} filters"
    return (
        f"REDUCED SCALE, not to be compared with the paper's figures: {width} (its A, B and C have "
        f"64), {counts} (10,000, 2,400 and 12,600), {each} (180 epochs, 5 runs), {where}."
    )
