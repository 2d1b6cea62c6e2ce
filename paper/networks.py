"""Fig. 3 and 4, Tables 5, 6, 11, section 4.3; with real images Tables 7, 15, 17; for networks.

Train the paper's configurations on synthetic images, at full or at a reduced scale -> evaluate
them, the paper's forest and SVM, and our own network on the test images -> tables and figures.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from deepfreak.datasets import Dataset
from deepfreak.models.evaluation import format_percent
from deepfreak.networks import (
    CONFIGURATION_A,
    CONFIGURATION_B,
    CONFIGURATION_C,
    FOR_PREPROCESSED_IMAGES,
    FOR_RAW_IMAGES,
    Configuration,
    Inputs,
    Topology,
)
from deepfreak.networks.figures import curve_figure, mean_curves_figure
from deepfreak.search import cnn, cnn_plan
from deepfreak.search.cnn_plan import narrowed
from deepfreak.settings import Count, NonNegative, settings
from paper import published
from paper.network_tables import (
    NORMALISED,
    Line,
    accuracy_table,
    best_on_real,
    compared_lines,
    measured_table,
    plain_table,
    table_11,
    training_table,
)
from paper.record import Record, Request, Table, confusion_table
from paper.trainings import (
    Candidate,
    Images,
    Runs,
    Simulated,
    Trainer,
    hardware,
    opened,
    our_network,
)

if TYPE_CHECKING:
    from deepfreak.reports.figures import Figure

PLAIN_SIDE = 224
CONFIGURATIONS = {"A": CONFIGURATION_A, "B": CONFIGURATION_B, "C": CONFIGURATION_C}
# Section 4.3's ResNet-50 on shrunk images, trained as configuration B is.
PLAIN = Configuration(
    topology=Topology(),
    training=replace(CONFIGURATION_B.training, inputs=Inputs(shrink_to=PLAIN_SIDE)),
)
# The paper's choices on real validation images, and their tables, by variant.
FOR_REAL = {"raw": (15, FOR_RAW_IMAGES), "preprocessed": (17, FOR_PREPROCESSED_IMAGES)}

Name = Literal["A", "B", "C", "plain", "ours"]


@settings
class Plan:
    """How much of the paper's work is done; the defaults are all of it.

    Parameters
    ----------
    networks
        Which are trained, in this order: the paper's configurations, section 4.3's, and ours.
    baselines
        Whether the paper's forest and SVM are trained, too.
    filters
        Filters of a topology at most. None for as many as Table 9 says.
    train, validation, test
        Images of that split at most. None for all.
    epochs, runs
        Epochs and runs of each of the paper's configurations.
    our_epochs
        Epochs of our network. None for as many as its recipe says.
    batch
        Images a step of the paper's networks, which then normalise each image by itself. None for
        theirs. The learning rate grows with it.
    normalise
        Normalisation of the paper's networks, per batch or per image.
    precision
        Precision of the convolutions of the paper's networks.
    time_limit_min
        Minutes after which no training begins; the same command resumes. None for no limit.
    search_min
        Minutes for a search for the network by BOHB, for Table 11; 0 for none.
    search_epochs, search_brackets
        Largest budget of the search in epochs, and its iterations.
    """

    networks: tuple[Name, ...] = ("A", "B", "C", "plain", "ours")
    baselines: bool = True
    filters: Count | None = None
    train: Count | None = None
    validation: Count | None = None
    test: Count | None = None
    epochs: Count = published.EPOCHS
    runs: Count = published.RUNS
    our_epochs: Count | None = None
    batch: Count | None = None
    normalise: Literal["batch", "image"] = "batch"
    precision: Literal["float32", "bf16"] = "float32"
    time_limit_min: NonNegative | None = None
    search_min: NonNegative = 0.0
    search_epochs: Count = 50
    search_brackets: Annotated[int, Field(ge=1)] = 16

    @property
    def images(self) -> dict[str, int | None]:
        """How many images of each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def reduced(self) -> bool:
        """Whether it is less than the paper's."""
        limits = (self.filters, self.our_epochs, *self.images.values())
        whole = Plan()
        return any(limits) or self.epochs < whole.epochs or self.runs < whole.runs


FULL_SCALE = Plan()
# An hour or two of two cores; 64 filters would take months.
CPU_SCALE = Plan(filters=8, train=600, validation=300, test=1200, epochs=5)


def scaled(name: str, configuration: Configuration, plan: Plan) -> Candidate:
    """Return a configuration of the paper as `plan` has it."""
    topology, training = narrowed(configuration.topology, plan.filters), configuration.training
    normalise = plan.normalise
    if plan.batch is not None and plan.batch != training.batch:
        rate = training.learning_rate * plan.batch / training.batch
        training = replace(training, batch=plan.batch, learning_rate=rate)
        normalise = "image"
    return Candidate(
        name=name,
        architecture=replace(topology, normalise=normalise),
        training=replace(training, epochs=plan.epochs, precision=plan.precision),
    )


def candidate(name: Name, plan: Plan, train: Dataset) -> Candidate:
    """Return the network of that name in a `Plan`."""
    if name == "ours":
        return our_network(train, epochs=plan.our_epochs)
    if name == "plain":
        return scaled(f"plain ResNet-50 at {PLAIN_SIDE} x {PLAIN_SIDE}", PLAIN, plan)
    return scaled(f"configuration {name}", CONFIGURATIONS[name], plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The networks of a record that have been trained, and what they are evaluated on."""

    request: Request
    plan: Plan
    device: str | None
    images: Images
    runs: Mapping[str, Runs]
    for_real: Mapping[str, Runs]
    searches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def line(self, name: Name, **more: Any) -> Line:  # noqa: ANN401 -- of `Line`
        """Return a network's evaluations on the test images."""
        runs, test = self.runs[name], self.images.test
        return Line(
            name=runs.candidate.name,
            evaluations=runs.evaluate(test, device=self.device),
            multiply_adds=runs.candidate.multiply_adds(
                classes=len(test.classes), side=int(test.images.shape[1])
            ),
            **more,
        )


def make_record(
    request: Request,
    plan: Plan,
    *,
    command: str,
    device: str | None = None,
    simulated: Simulated | None = None,
    searches: Mapping[str, Mapping[str, Any]] | None = None,
) -> Record:
    """Train, evaluate, and return the tables and figures.

    `simulated` stands in place of the request's data. `searches` are results of searches for the
    network to stand beside the paper's choices, by the images on which they chose: `synthetic`,
    `raw` or `preprocessed`.
    """
    with opened(request, plan.images, simulated) as images:
        networks = {name: candidate(name, plan, images.train) for name in plan.networks}
        for_real = {
            variant: scaled(f"network, Table {table}", configuration, plan)
            for variant, (table, configuration) in FOR_REAL.items()
            if variant in request.real
        }
        single = {"plain", "ours"}
        planned = {each: 1 if name in single else plan.runs for name, each in networks.items()}
        trainer = Trainer(
            train=images.train,
            validation=images.validation,
            request=request,
            planned=planned | dict.fromkeys(for_real.values(), 1),
            device=device,
            time_limit_s=math.inf if plan.time_limit_min is None else 60 * plan.time_limit_min,
        )
        runs = trainer.run_all()
        trained = Trained(
            request=request,
            plan=plan,
            device=device,
            images=images,
            runs={name: runs[each] for name, each in networks.items() if each in runs},
            for_real={name: runs[each] for name, each in for_real.items() if each in runs},
            searches={**_searched(request, plan, images, device), **(searches or {})},
        )
        return _record(trained, command=command)


def _searched(
    request: Request, plan: Plan, images: Images, device: str | None
) -> dict[str, Mapping[str, Any]]:
    """Return the results of the search that the plan asks for, if any."""
    if not plan.search_min:
        return {}
    found = cnn.search(
        images.train,
        images.validation,
        request.work / "search",
        plan=cnn_plan.Plan(
            iterations=plan.search_brackets,
            max_epochs=plan.search_epochs,
            space="published-code",
            filters=plan.filters,
            precision=plan.precision,
            normalise=plan.normalise,
        ),
        device=device,
        time_limit_s=60 * plan.search_min,
        progress=request.progress,
        say=request.say,
    )
    return {"synthetic": found.to_json()}


def _record(trained: Trained, *, command: str) -> Record:
    plan, images, runs = trained.plan, trained.images, trained.runs
    trained.request.say("evaluating on the test images")
    baselines = _baselines(trained) if plan.baselines else []
    remarks = []
    if baselines:
        remarks.append("Forest and SVM have the paper's settings and were trained on these images.")
    tables: list[Table] = []
    evaluated: dict[str, Line] = {}
    if "B" in runs:
        remarks.append("Of B's runs the one of the highest validation accuracy was chosen.")
        b = trained.line("B", published=published.TABLE_5["network"], chosen=runs["B"].chosen)
        evaluated["B"] = replace(b, name="DeepFreak (configuration B)")
        tables.append(
            confusion_table(
                "Table 6: configuration B, test images", b.evaluation, published.TABLE_6_NETWORK
            )
        )
        if runs["B"].normalises_by_batch:
            remarks.append(NORMALISED)
            evaluated["B by image"] = replace(
                b,
                name="the same, each image normalised by itself",
                published=None,
                evaluations=runs["B"].evaluate(images.test, device=trained.device, by_image=True),
            )
    if "ours" in runs:
        ours = trained.line("ours")
        tables.append(
            confusion_table("Beyond the paper: our network, test images", ours.evaluation)
        )
        remarks += [compared_lines(ours, line) for line in evaluated.values()]
        evaluated["ours"] = ours
    lines = [*baselines, *evaluated.values()]
    if lines:
        title = "Table 5: accuracy on the test images (%)"
        tables.insert(0, accuracy_table(title, lines, remarks=remarks))
    configurations = {name: runs[name] for name in CONFIGURATIONS if name in runs}
    if configurations:
        tables.append(table_11(configurations, CONFIGURATIONS, trained.searches.get("synthetic")))
    if "plain" in runs:
        plain = trained.line("plain")
        tables.append(plain_table(runs["plain"], plain.evaluation, runs.get("B")))
        evaluated["plain"] = plain
    tables.append(training_table(runs.values(), images=len(images.train)))
    if images.measured:
        tables.append(measured_table(images.measured))
    for variant in trained.request.real:
        tables += _real_tables(trained, variant)
    return Record(
        name="networks",
        title="The paper's networks on our DiffraNet",
        command=command,
        summary=(
            _scale(plan, images, device=trained.device),
            *_missing(trained),
            *(
                f"{line.name}: {format_percent(line.evaluation.accuracy).strip()} % of "
                f"{len(images.test):,} test images"
                + (f" (the paper's: {line.published:.2f} %)." if line.published else ".")
                for line in lines
            ),
        ),
        tables=tuple(tables),
        facts={
            "scale": asdict(plan),
            "curves": {
                each.candidate.name: {
                    "validation": each.validation.tolist(),
                    "training": each.training.tolist(),
                }
                for each in runs.values()
            },
            "evaluations": {
                name: [evaluation.to_json() for evaluation in line.evaluations]
                for name, line in evaluated.items()
            },
        },
        figures=_figures(runs, configurations),
        data_set=lines[-1].evaluation.data_set if lines else {},
    )


def _baselines(trained: Trained) -> list[Line]:
    """Return the evaluations of the paper's forest and SVM on the test images."""
    from paper.baselines import PAPER_FOREST, PAPER_SVM, evaluate

    images = trained.images
    return [
        Line(
            name=each.name,
            published=published.TABLE_5[each.classifier.name],
            evaluations=found[""].of_seeds,
        )
        for each in (PAPER_FOREST, PAPER_SVM)
        for found in [evaluate(each, images.train, {"": images.test}, trained.request)]
    ]


def _real_tables(trained: Trained, variant: str) -> Iterator[Table]:
    """Yield Table 7, each classifier as chosen on synthetic and on real images, and 15 or 17."""
    path = trained.request.real[variant]
    table, configuration = FOR_REAL[variant]
    lines = []
    with Dataset.open(path) as every, Dataset.open(path, split="test") as test:
        sets = ((every, published.TABLE_7_BEFORE), (test, published.TABLE_7_AFTER))
        if trained.plan.baselines:
            from paper import baselines

            synthetic = (baselines.PAPER_FOREST, baselines.PAPER_SVM)
            for pair in zip(synthetic, baselines.FOR_REAL[variant], strict=True):
                for each, (images, theirs) in zip(pair, sets, strict=True):
                    found = baselines.evaluate(
                        each, trained.images.train, {"": images}, trained.request
                    )
                    percent = getattr(theirs[each.classifier.name], variant)
                    evaluations = found[""].of_seeds
                    lines.append(Line(name=each.name, published=percent, evaluations=evaluations))
        networks = (trained.runs.get("B"), trained.for_real.get(variant))
        for runs, (images, theirs) in zip(networks, sets, strict=True):
            if runs is not None:
                lines.append(
                    Line(
                        name=runs.candidate.name,
                        published=getattr(theirs["network"], variant),
                        evaluations=runs.evaluate(
                            images, device=trained.device, only=[runs.chosen]
                        ),
                    )
                )
    yield accuracy_table(
        f"Table 7: {variant} real images, all three classifiers, accuracy (%)",
        lines,
        remarks=(
            (
                "Trained on synthetic images only. The first of each pair was chosen by the paper "
                "on synthetic images, the second on real validation images. The paper's 457 real "
                "images are not these: compare with care."
            ),
        ),
    )
    yield best_on_real(table, variant, configuration, trained.searches.get(variant))


def _figures(runs: Mapping[str, Runs], configurations: Mapping[str, Runs]) -> "tuple[Figure, ...]":
    figures = []
    if configurations:
        curves = {each.candidate.name: each.validation for each in configurations.values()}
        title = f"Fig. 3: configurations {', '.join(configurations)} on the validation images"
        figures.append(mean_curves_figure(curves, title=title))
    titles = {"B": "Fig. 4: configuration B, the run that was chosen", "ours": "Our network"}
    for name, title in titles.items():
        if name in runs:
            figures.append(curve_figure(runs[name].histories[runs[name].chosen], title=title))
    return tuple(figures)


def _missing(trained: Trained) -> list[str]:
    """Return what the time limit has cut off, in a sentence, if anything."""
    plan, made = trained.plan, {**trained.runs, **trained.for_real}
    planned = dict.fromkeys(trained.request.real, 1) | {
        name: plan.runs if name in CONFIGURATIONS else 1 for name in plan.networks
    }
    ended = {name: len(made[name].weights) if name in made else 0 for name in planned}
    missing = [f"{name} {ended[name]} of {n}" for name, n in planned.items() if ended[name] < n]
    if not missing:
        return []
    return [f"Runs before the time limit: {', '.join(missing)}; the same command resumes."]


def _scale(plan: Plan, images: Images, *, device: str | None) -> str:
    """Return in one line how much of the paper's work a record stands for, and on what."""
    counts = (
        f"{len(images.train):,} training, {len(images.validation):,} validation and "
        f"{len(images.test):,} test images"
    )
    each = f"{plan.epochs} epochs, {plan.runs} run{'s' if plan.runs > 1 else ''} each"
    where = f"on {hardware(device)}"
    if plan.normalise == "image" or plan.batch is not None:
        where += "; unlike the paper's, networks normalise each image by itself"
    if plan.batch is not None:
        where += f", in batches of {plan.batch} with the learning rate in proportion"
    if plan.precision == "bf16":
        where += "; convolutions in bf16"
    if not plan.reduced:
        return f"Full scale: the paper's widths, {counts}, {each}, {where}."
    width = "the paper's widths" if plan.filters is None else f"at most {plan.filters} filters"
    return (
        f"REDUCED SCALE, not to be compared with the paper's figures: {width} (its A, B and C have "
        f"64), {counts} (10,000, 2,400 and 12,600), {each} (180 epochs, 5 runs), {where}."
    )
