"""Options that choose a model, an extractor and a classifier, and what they stand for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from deepfreak.features import Extractor
    from deepfreak.features.sift import SIFT
    from deepfreak.models import Learner

F = TypeVar("F", bound=Callable[..., Any])

model_option = click.option(
    "--model", type=click.Path(path_type=Path),
    help="Model file, or diffranet: five classes, for images like DiffraNet's (give a file of that "
    "name by its full path). By default the model that screens frames.",
)  # fmt: skip

# Which choice each option goes with.
BELONGS = {
    "distances": ("extractor", "glcm"),
    "angles": ("extractor", "glcm"),
    "points": ("extractor", "lbp"),
    "radius": ("extractor", "lbp"),
    "clusters": ("extractor", "sift"),
    "contrast_threshold": ("extractor", "sift"),
    "trees": ("classifier", "forest"),
    "max_depth": ("classifier", "forest"),
    "max_features": ("classifier", "forest"),
    "cost": ("classifier", "svm"),
    "gamma": ("classifier", "svm"),
    "hidden": ("classifier", "perceptrons"),
    "decay": ("classifier", "perceptrons"),
    "members": ("classifier", "perceptrons"),
}


def _numbers(kind: Callable[[str], Any]) -> Callable[..., tuple[Any, ...]]:
    """Return a click callback that reads `1,2,5` as numbers of `kind`."""

    def parse(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part) for part in value.split(","))
        except ValueError:
            raise click.BadParameter(
                f"expected numbers separated by commas, found {value!r}"
            ) from None

    return parse


def _max_depth(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    if value == "none":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 1000:
        raise click.BadParameter(f"expected a whole number from 1 to 1000 or none, found {value!r}")
    return int(value)


def _max_features(_context: click.Context, _parameter: click.Parameter, value: str) -> str | float:
    if value == "sqrt":
        return value
    try:
        part = float(value)
    except ValueError:
        part = 0.0
    if not 0 < part <= 1:
        raise click.BadParameter(f"expected sqrt or a part of 1 such as 0.25, found {value!r}")
    return part


def _class_weight(
    context: click.Context, parameter: click.Parameter, value: str
) -> str | tuple[float, ...] | None:
    if value == "none":
        return None
    if value == "balanced":
        return value
    try:
        return _numbers(float)(context, parameter, value)
    except click.BadParameter:
        raise click.BadParameter(
            f"expected none, balanced or a number for each class such as 0.35,0.35,0.1,0.1,0.1, "
            f"found {value!r}"
        ) from None


def extractor_options(command: F) -> F:
    """Add `--extractor` and the options of every extractor."""
    for option in reversed(
        (
            click.option(
                "--extractor", type=click.Choice(["glcm", "lbp", "sift", "diffraction"]),
                default="diffraction", show_default=True, help="What turns an image into numbers.",
            ),
            click.option(
                "--distances", default="1,2,5,8", show_default=True, callback=_numbers(int),
                help="glcm: distances of the pixel pairs, in pixels.",
            ),
            click.option(
                "--angles", default="45,135", show_default=True, callback=_numbers(float),
                help="glcm: directions of the pixel pairs, in degrees.",
            ),
            click.option(
                "--points", type=int, default=24, show_default=True,
                help="lbp: points on the circle.",
            ),
            click.option(
                "--radius", type=float, default=3, show_default=True,
                help="lbp: radius of the circle, in pixels.",
            ),
            click.option(
                "--clusters", type=int, default=100, show_default=True,
                help="sift: visual words.",
            ),
            click.option(
                "--contrast-threshold", type=float, default=0.04, show_default=True,
                help="sift: least contrast of a key point.",
            ),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def classifier_options(command: F) -> F:
    """Add `--classifier` and the options of every classifier."""
    for option in reversed(
        (
            click.option(
                "--classifier", type=click.Choice(["forest", "svm", "perceptrons"]),
                default="forest", show_default=True, help="What learns from the numbers.",
            ),
            click.option(
                "--trees", type=click.IntRange(1, 2000), default=100, show_default=True,
                help="forest: how many.",
            ),
            click.option(
                "--max-depth", default="20", show_default=True, callback=_max_depth,
                help="forest: longest path in a tree, or none.",
            ),
            click.option(
                "--max-features", default="sqrt", show_default=True, callback=_max_features,
                help="forest: features tried at a split, sqrt or a part of them such as 0.25.",
            ),
            click.option(
                "--C", "cost", type=float, default=32, show_default=True,
                help="svm: cost of an image on the wrong side of its margin.",
            ),
            click.option(
                "--gamma", type=float, default=0.5, show_default=True,
                help="svm: width of the kernel; 0 for one over the number of features.",
            ),
            click.option(
                "--hidden", type=int, default=24, show_default=True,
                help="perceptrons: units of the hidden layer.",
            ),
            click.option(
                "--decay", type=float, default=1e-4, show_default=True,
                help="perceptrons: cost of large weights.",
            ),
            click.option(
                "--members", type=int, default=4, show_default=True,
                help="perceptrons: how many, whose mean counts.",
            ),
            click.option(
                "--class-weight", default="none", show_default=True, callback=_class_weight,
                help="How much classes weigh: none, balanced, or a number for each.",
            ),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def refuse_strangers(context: click.Context) -> None:
    """Raise `click.UsageError` for an option that was given and has nothing to act on."""
    for name, (choice, kind) in BELONGS.items():
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        chosen = context.params.get(choice)
        if given and chosen != kind:
            raise click.UsageError(
                f"{flag(name)} goes with --{choice} {kind}, found --{choice} {chosen}: leave one "
                "of them out"
            )


def make_extractor(options: Mapping[str, Any]) -> "Extractor | SIFT":
    """Return what the options choose; settings of SIFT have no words yet."""
    with _one_line():
        if options["extractor"] == "glcm":
            from deepfreak.features.glcm import GLCM

            return GLCM(distances=options["distances"], angles_deg=options["angles"])
        if options["extractor"] == "lbp":
            from deepfreak.features.lbp import LBP

            return LBP(points=options["points"], radius=options["radius"])
        if options["extractor"] == "sift":
            from deepfreak.features.sift import SIFT

            return SIFT(
                clusters=options["clusters"], contrast_threshold=options["contrast_threshold"]
            )
        from deepfreak.features.diffraction import Diffraction

        return Diffraction()


def make_classifier(options: Mapping[str, Any]) -> "Learner":
    """Return the settings that the options choose."""
    from deepfreak.models import SVM, Forest, PerceptronLearner

    with _one_line():
        if options["classifier"] == "perceptrons":
            return PerceptronLearner(
                hidden=options["hidden"],
                decay=options["decay"],
                members=options["members"],
                class_weight=options["class_weight"],
            )
        if options["classifier"] == "svm":
            return SVM(
                C=options["cost"], gamma=options["gamma"], class_weight=options["class_weight"]
            )
        return Forest(
            trees=options["trees"],
            max_depth=options["max_depth"],
            max_features=options["max_features"],
            class_weight=options["class_weight"],
        )


def written_out(options: Mapping[str, Any]) -> str:
    """Return the options, defaults too, as they would be typed."""
    names = ["extractor", "classifier"]
    for name, (choice, kind) in BELONGS.items():
        if options[choice] == kind:
            names.insert(names.index("classifier") if choice == "extractor" else len(names), name)
    return " ".join(f"{flag(name)} {_typed(options[name])}" for name in [*names, "class_weight"])


def flag(name: str) -> str:
    """Return the option of that parameter."""
    return "--C" if name == "cost" else f"--{name.replace('_', '-')}"


def _typed(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_typed, value))
    if value is None:
        return "none"
    # repr gives the shortest text that is read as the same number
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what settings say of a wrong value into one line."""
    from pydantic import ValidationError

    from deepfreak.settings import one_line

    try:
        yield
    except ValidationError as error:
        raise click.UsageError(one_line(error)) from error
