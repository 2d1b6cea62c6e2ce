"""`deepfreak classify`, `inspect` and `demo`: verdicts on detector files, and what is in them."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from deepfreak.cli.command import OUTPUT_FILE, Command, done, forget_stdout, log
from deepfreak.cli.options import (
    frame_options,
    frames_argument,
    model_option,
    notes_once,
    out_option,
    overwrite_option,
    policy_options,
    read_settings,
    report_option,
    workers_option,
)
from deepfreak.progress import progress
from deepfreak.text import printable

if TYPE_CHECKING:
    from deepfreak.models import Classifier
    from deepfreak.reports.verdicts import GalleryItem
    from deepfreak.screening.policy import Policy
    from deepfreak.screening.verdict import Verdict

SOME_UNREADABLE = 3
ALL_UNREADABLE = 2
_FORMATS = ("table", "jsonl", "csv")


@click.command(cls=Command)
@frames_argument
@model_option
@click.option("--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True)
@click.option("--out", type=OUTPUT_FILE, help="File for the records instead of stdout.")
@overwrite_option
@report_option
@policy_options
@frame_options
def classify(
    *,
    files: tuple[Path, ...],
    model: Path | None,
    form: str,
    out: Path | None,
    overwrite: bool,
    report: Path | None,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> int:
    """Classify detector frames.

    FILES are detector files or directories of them. One record a frame: class, probabilities,
    p_crystal, the probability that the shot holds crystal diffraction, and the decision that
    `watch` takes, with its reasons. The exit code is 3 when some frames could not be read, 2 when
    none could.
    """
    from deepfreak.formats.guarded import find_files_guarded, load_guarded, shared_process
    from deepfreak.models import load_model
    from deepfreak.reports.records import record_form
    from deepfreak.screening.screener import Screener, screen_files
    from deepfreak.screening.verdict import Failure

    shared_process().start()  # while the model is loaded
    given = load_guarded(read_settings(options))
    classifier = load_model(model)
    policy, said = _policy(classifier, model, policy_options.take(options))
    named = f"{printable(str(model or 'default'))}, {classifier.name}"
    done(f"model: {named}; {said}")
    found = find_files_guarded(files, given.get("geometry"))
    see = notes_once()
    header, line = record_form(form, classifier.classes, found)
    screener = Screener(classifier, policy, pictures=report is not None)
    read = failed = 0
    decisions: Counter[str] = Counter()

    def verdicts(stream: TextIO, advance: Callable[[int], None]) -> Iterator["Verdict"]:
        """Yield the verdicts while writing down these and the failures."""
        nonlocal read, failed
        stream.write(header)
        counted = _counted(found, advance)
        for result in screen_files(counted, screener, see=see, **given):
            stream.write(line(result))
            stream.flush()
            if isinstance(result, Failure):
                failed += 1
            else:
                read += 1
                decisions.update([result.decision] if result.decision else [])
                yield result

    # no bar where the records show how far it is
    shown = out is None and sys.stdout.isatty()
    bar = nullcontext(lambda _: None) if shown else progress("files", len(found))
    with _records(out, overwrite=overwrite) as stream, bar as advance:
        judged = verdicts(stream, advance)
        if report is not None:
            from deepfreak.reports.verdicts import write_verdict_page

            write_verdict_page(
                report,
                title="Verdicts on detector frames",
                verdicts=map(_shown, judged),
                details=[("model", classifier.name)],
                overwrite=overwrite,
            )
        for _ in judged:
            pass
    if decisions:
        counts = ", ".join(f"{decisions[name]} {name}" for name in ("keep", "unsure", "discard"))
        done(f"decisions: {counts}")
    for path in (out, report):
        if path is not None:
            done(f"wrote {path}")
    if not failed:
        return 0
    log.warning("%d of %d records are of what could not be classified", failed, read + failed)
    return SOME_UNREADABLE if read else ALL_UNREADABLE


def _policy(
    classifier: "Classifier", model: Path | None, settings: dict[str, Any]
) -> tuple["Policy | None", str]:
    """Return what decides and the line about it; nothing does where no thresholds are known."""
    from deepfreak.errors import ModelError
    from deepfreak.screening.policy import find_policy

    try:
        policy, _ = find_policy(classifier, model=model, **settings)
    except ModelError as error:
        if "scores" in settings:
            raise
        return None, f"no decisions, for no thresholds are known: {error}"
    return policy, policy.promise()


@contextmanager
def _records(out: Path | None, *, overwrite: bool) -> Iterator[TextIO]:
    """Give where the records go: stdout, or a file that gets its name when it is whole."""
    if out is None:
        # taken now: a bar on stderr puts something else in the place of sys.stdout
        stream = sys.stdout
        try:
            yield stream
            stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            from deepfreak.errors import OutputError

            forget_stdout()
            raise OutputError(f"cannot write to stdout: {error.strerror or error}") from error
        return
    from deepfreak.storage.files import whole_file

    with (
        whole_file(out, overwrite=overwrite) as partial,
        partial.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield stream


def _counted(files: list[Path], advance: Callable[[int], None]) -> Iterator[Path]:
    for file in files:
        yield file
        advance(1)


def _shown(verdict: "Verdict") -> "GalleryItem":
    import numpy as np

    from deepfreak.encoding import SIZE
    from deepfreak.reports.verdicts import GalleryItem

    image, valid = verdict.image, verdict.valid
    if image is None or valid is None:  # too little of the middle was measured
        image, valid = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.bool_)
    return GalleryItem(
        image=image,
        valid=valid,
        caption=f"{printable(Path(verdict.file).name)}, frame {verdict.frame}",
        label=verdict.label,
        probabilities=verdict.probabilities,
        activation=verdict.activation,
        decision=verdict.decision,
        reasons=verdict.reasons,
        overlay=verdict.overlay,
    )


@click.command(cls=Command)
@frames_argument
@click.option(
    "--frame", type=click.IntRange(0), metavar="N",
    help="Frame N of each file, from 0; the first by default.",
)  # fmt: skip
@frame_options
@click.option("--picture", type=OUTPUT_FILE, help="PNG to draw, of one frame.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
@overwrite_option
def inspect(
    *,
    files: tuple[Path, ...],
    frame: int | None,
    picture: Path | None,
    form: str,
    overwrite: bool,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> int:
    """Show what is understood of detector files.

    For each of FILES, files or directories of them: the frame's size, which pixels measured nothing
    and why, the gain and other metadata, and where each was found; and what it shows: peaks, rings,
    lattices (docs/evidence.md). With `--format json` one object a line; a byte XX of a file's name
    that is not UTF-8 is the surrogate U+DCXX there, as Python's os.fsencode takes it.
    """
    from deepfreak.errors import FrameError
    from deepfreak.evidence import find_evidence
    from deepfreak.formats.guarded import find_files_guarded, load_guarded, open_guarded
    from deepfreak.reports.inspection import describe, draw, inspection_text

    given = load_guarded(read_settings(options))
    given["reasons"] = True
    found = find_files_guarded(files, given.get("geometry"))
    if picture is not None and len(found) > 1:
        raise click.UsageError(f"expected one file to draw with --picture, found {len(found)}")
    failed = 0
    for path in found:
        try:
            with open_guarded(path, **given) as opened:
                index = frame or 0
                read = opened.read(index)
                evidence = find_evidence(read)
                record = describe(read, opened.count, evidence)
                if picture is not None:
                    draw(read, evidence, picture, overwrite=overwrite)
        except FrameError as error:
            failed += 1
            record = {"file": str(path), "frame": frame, "error": str(error)}
        click.echo(
            json.dumps(record, allow_nan=False) if form == "json" else inspection_text(record)
        )
    if picture is not None and not failed:
        done(f"picture: {picture}")
    if not failed:
        return 0
    log.warning("%d of %d files could not be read", failed, len(found))
    return SOME_UNREADABLE if failed < len(found) else ALL_UNREADABLE


@click.command(cls=Command)
@out_option("Directory for images and page.", directory=True, default=Path("deepfreak-demo"))
@click.option(
    "--count", type=click.IntRange(1, 10_000), default=60, show_default=True, help="Shots."
)
@workers_option()
@overwrite_option
def demo(*, out: Path, count: int, **options: Any) -> None:  # noqa: ANN401 -- of `run_demo`
    """Simulate shots, classify them, and show the verdicts.

    The model is `diffranet`. The embedded crystal has photosystem II's unit cell; nothing is
    downloaded.
    """
    from deepfreak.demo import run_demo, summary

    with progress("simulating", count) as advance:
        made = run_demo(out, count=count, say=click.echo, advance=advance, **options)
    click.echo(f"\n{summary(made)}")
    done(f"wrote {made.page}", then=f"open {made.page} in a browser; deepfreak classify FRAMES")
