"""`deepfreak data prepare`: labelled detector frames to a real data set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from deepfreak.cli.command import INPUT, OUTPUT_FILE, Command, bars, done, log
from deepfreak.cli.options import (
    frame_options,
    notes_once,
    overwrite_option,
    read_settings,
    seed_option,
)
from deepfreak.storage.files import check_output

_EXAMPLES = 12  # of each setup on the preview


def _integers(names: str) -> Callable[[str], tuple[int, ...]]:
    """Return a function that reads as many whole numbers as `names` has."""

    def parse(value: str) -> tuple[int, ...]:
        try:
            numbers = tuple(map(int, value.split(",")))
        except ValueError:
            numbers = ()
        if len(numbers) != len(names.split(",")):
            raise click.BadParameter(f"expected {names} in pixels, found {value!r}")
        return numbers

    return parse


@click.command(cls=Command)
@click.argument("frames", nargs=-1, required=True, type=INPUT)
@click.option(
    "--labels", type=INPUT, required=True,
    help="CSV with the columns file, label (diffraction or no-diffraction) and, optionally, frame.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), required=True,
    help="real.h5 stands for real_raw.h5 and real_preprocessed.h5.",
)  # fmt: skip
@click.option(
    "--mean", "like", metavar="SYNTHETIC.h5", type=INPUT,
    help="Data set whose mean gray level the preprocessed images get.",
)  # fmt: skip
@click.option(
    "--target-mean", type=click.FloatRange(0, 255, min_open=True, max_open=True),
    help="That mean as a number.",
)  # fmt: skip
@click.option(
    "--beamstop", metavar="X0,Y0,X1,Y1", type=_integers("x0,y0,x1,y1"),
    help="Rectangle of the shadow in the frame's pixels, x along fast; by default it is found.",
)  # fmt: skip
@click.option(
    "--crop", metavar="SLOW,FAST", type=_integers("slow,fast"),
    help="Pixel of the frame at the image's corner; by default it is found.",
)  # fmt: skip
@click.option(
    "--factor", type=click.IntRange(1, 64),
    help="Pixels along the side of a bin, with --crop; by default the largest that fits the frame.",
)  # fmt: skip
@click.option("--preview", type=OUTPUT_FILE, help="HTML page to write.")
@frame_options
@click.option(
    "--test-part", type=click.FloatRange(0, 1), default=0.2, show_default=True,
    help="Fraction of the frames of each class in the split test.",
)  # fmt: skip
@click.option(
    "--together", type=click.Choice(["series", "file", "frame"]), default="series",
    show_default=True, help="What a split must not divide.",
)  # fmt: skip
@seed_option("of the splits")
@overwrite_option
def prepare(
    *,
    frames: tuple[Path, ...],
    out: Path,
    like: Path | None,
    target_mean: float | None,
    preview: Path | None,
    overwrite: bool,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> None:
    """Prepare a data set from labelled detector frames.

    FRAMES are detector files or directories of them. The raw images are downsampled, cropped
    without the beamstop's shadow and encoded in 8 bits; the preprocessed ones are these times one
    constant, so that their mean is that of synthetic images.
    """
    beamstop, crop, factor = (options.pop(name) for name in ("beamstop", "crop", "factor"))
    if like is not None and target_mean is not None:
        raise click.UsageError("expected one of --mean and --target-mean, found both")
    if factor is not None and crop is None:
        raise click.UsageError("--factor needs --crop: without it both are found")
    if like is None and target_mean is None:
        raise click.UsageError("expected --mean or --target-mean: the mean to reach")
    for name in ("raw", "preprocessed"):
        check_output(out.with_name(f"{out.stem}_{name}.h5"), overwrite=overwrite)
    from deepfreak.datasets.real_images.crop import ByHand
    from deepfreak.datasets.real_images.real_set import mean_of, prepare_real_set
    from deepfreak.formats.guarded import find_files_guarded, load_guarded

    given = load_guarded(read_settings(options))
    shadow = beamstop and (beamstop[1], beamstop[0], beamstop[3], beamstop[2])
    with bars() as start:
        made = prepare_real_set(
            find_files_guarded(frames, given.get("geometry")),
            options.pop("labels"),
            out,
            target_mean=target_mean or 0.0 if like is None else mean_of(like, start=start),
            by_hand=ByHand(shadow=shadow, origin=crop, factor=factor),
            options=given,
            see=notes_once(),
            examples=_EXAMPLES if preview is not None else 0,
            overwrite=overwrite,
            start=start,
            **options,
        )
    if preview is not None:
        from deepfreak.reports.real_set import write_preview

        write_preview(preview, made, overwrite=overwrite)
    splits = ", ".join(f"{count} {name}" for name, (_, count) in made.splits.items())
    click.echo(f"{made.raw}, {made.preprocessed}: {splits}")
    click.echo(f"preprocessed = raw x {made.constant:.5g}, mean {made.mean:.2f}")
    for setup in made.setups:
        if setup.window is None:
            log.warning(
                "%s: no crop is free of the shadow; it is missing from the images", setup.frame.file
            )
    done(f"wrote {made.raw} and {made.preprocessed}", then=f"deepfreak data show {made.raw}")
