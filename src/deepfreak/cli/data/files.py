"""`deepfreak data`: what is done with sets of images and other files that are there."""

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from deepfreak.cli.command import INPUT, Command, bars, done, log
from deepfreak.cli.options import out_option, overwrite_option, report_option, workers_option
from deepfreak.progress import progress


@click.command(cls=Command)
@click.argument("data", type=INPUT)
@click.option(
    "--sample", type=click.IntRange(0), default=20, show_default=True,
    help="Images, chosen at random, to simulate again.",
)  # fmt: skip
@click.option("--full", is_flag=True, help="Simulate all images again.")
@workers_option(default=1)
def verify(*, data: Path, sample: int, full: bool, workers: int) -> None:
    """Verify a data set against its manifest.

    Images, labels and truth are hashed, and a sample is simulated again: equal bytes on the
    versions and processor features that made it, elsewhere at most 1e-4 of the pixels off by one.
    Prints one line for each problem and exits with 2 if there is any; otherwise says whether this
    is the released data set, or why not.
    """
    import numpy as np

    from deepfreak import datasets
    from deepfreak.datasets.verifying import RELEASED_NAME, why_not_released
    from deepfreak.errors import DatasetError

    with datasets.Dataset.open(data) as opened:
        count, manifest = len(opened), opened.manifest
    with (
        datasets.worker_processes(workers) as executor,
        progress(f"reading {data.name}", count) as advance,
    ):
        proof = datasets.verify(
            data,
            rng=np.random.default_rng(),  # a sample that cannot be predicted
            sample=count if full else sample,
            executor=executor,
            advance=advance,
        )
    for problem in proof.problems:
        click.echo(f"{data}: {problem}", err=True)
    if proof.problems:
        raise click.exceptions.Exit(DatasetError.exit_code)
    again = "; none simulated again"
    if proof.rule is not None:
        again = f"; {proof.simulated} simulated again, compared by {proof.rule} ({proof.reason})"
    click.echo(f"{data}: {proof.images} images are what the manifest says{again}")
    why = why_not_released(manifest)
    click.echo(f"this is not {RELEASED_NAME}: {why}" if why else f"this is {RELEASED_NAME}")


@click.command(cls=Command)
@click.argument("shards", nargs=-1, required=True, type=INPUT)
@out_option("HDF5 file to write.")
@overwrite_option
def join(*, shards: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Join the shards of one data set.

    SHARDS are all files that `deepfreak data generate --shard` made of one series. The result is
    the file that a single run would have made.
    """
    from deepfreak import datasets

    total = 0
    for path in shards:
        with datasets.Dataset.open(path) as data:
            total += len(data)
    with progress("joining", total) as advance:
        datasets.join(shards, out=out, overwrite=overwrite, advance=advance)
    done(f"{out}: {total} images of {len(shards)} shards", then=f"deepfreak data verify {out}")


@click.command(cls=Command)
@click.argument("data", type=INPUT)
@report_option
@overwrite_option
def show(*, data: Path, report: Path | None, overwrite: bool) -> None:
    """Show what a data set holds.

    Classes, splits, and the least, middle and largest value of each truth.
    """
    import numpy as np

    from deepfreak.datasets import Dataset
    from deepfreak.datasets.verifying import RELEASED_NAME, identity, why_not_released
    from deepfreak.reports.dataset import numbers_by_split, summary_of_truth, write_dataset_page

    with Dataset.open(data) as images:
        manifest = images.manifest
        made_by = manifest.get("versions", {}).get("deepfreak", "unknown")
        size = " x ".join(map(str, images.images.shape[1:]))
        click.echo(f"{data}: {len(images)} images of {size} pixels")
        click.echo(f"seed {manifest.get('seed', 'unknown')}, made by deepfreak {made_by}")
        told = identity(manifest)
        click.echo(f"label version {told['label_version'] or 'unknown'}; sha256 by its manifest:")
        for part in ("images", "labels", "truth"):
            click.echo(f"  {part:<8}{(told['sha256'] or {}).get(part, 'unknown')}")
        why = why_not_released(manifest)
        click.echo(
            f"not {RELEASED_NAME}: {why}"
            if why
            else f"the hashes are those of {RELEASED_NAME}; `deepfreak data verify` proves them"
        )
        columns = [*images.classes, "images"]
        width = max(11, *(len(name) + 1 for name in columns))
        click.echo("\n" + " " * 12 + "".join(f"{name:>{width}}" for name in columns))
        for name, counts in numbers_by_split(images):
            numbers = "".join(f"{number:>{width}}" for number in [*counts, sum(counts)])
            click.echo(f"{name:<12}{numbers}")
        rows = summary_of_truth(images)
        if rows:
            click.echo(f"\n{'truth':<22}{'least':>12}{'middle':>12}{'largest':>12}")
        for name, (least, middle, largest) in rows:
            click.echo(f"{name:<22}{least:>12.5g}{middle:>12.5g}{largest:>12.5g}")
        if report is not None:
            # the same sheet of the same file
            write_dataset_page(report, images, rng=np.random.default_rng(0), overwrite=overwrite)
            done(f"wrote {report}")


@click.command("import", cls=Command)
@click.argument("source", metavar="ZIP|DIRECTORY", type=INPUT)
@out_option("Directory for the files, one a variant.", directory=True)
@overwrite_option
def import_(*, source: Path, out: Path, overwrite: bool) -> None:
    """Import DiffraNet from the authors' archive.

    Writes synthetic.h5, real_raw.h5 and real_preprocessed.h5, those that are there, with labels and
    splits. Nothing is unpacked to disk.
    """
    from deepfreak.datasets.diffranet import import_diffranet

    with bars() as start:
        imported = import_diffranet(
            source, out, overwrite=overwrite, start=partial(start, "importing")
        )
    for variant, file in imported.files.items():
        splits = imported.counts[variant]
        said = ", ".join(f"{count} {split}" for split, count in splits.items())
        click.echo(f"{file}: {sum(splits.values())} images ({said})")
    left_out = f"; left out: {imported.left_out} files that are none of its images"
    done(f"wrote {out}" + left_out * bool(imported.left_out), then="deepfreak data show FILE")


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=INPUT)
@out_option("Directory to make; it must not exist yet, or be empty.", directory=True)
def export(*, files: tuple[Path, ...], out: Path) -> None:
    """Export data sets as PGM files in DiffraNet's layout.

    The layout is VARIANT/SPLIT/CLASS, classes by number from 1. Without splits all go into train.
    """
    from deepfreak.datasets.diffranet import export_diffranet

    with bars() as start:
        counts = export_diffranet(files, out, start=partial(start, "exporting"))
    done(f"{out}: " + ", ".join(f"{count} {variant}" for variant, count in counts.items()))


@click.command(cls=Command)
@click.argument("pdb_id")
@out_option(
    "Directory for ID.cif.gz.", directory=True, show_default="where a recipe's pdb:ID looks for it"
)
@overwrite_option
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), default=300.0,
    show_default=True, help="Seconds that the whole download may take.",
)  # fmt: skip
@click.option(
    "--url", envvar="DEEPFREAK_PDB_URL", show_default="the RCSB's archive",
    help="Directory of a mirror that holds ID.cif.gz.",
)  # fmt: skip
def fetch(pdb_id: str, out: Path | None, url: str | None, **options: Any) -> None:  # noqa: ANN401 -- of `fetch_entry`
    """Download a PDB entry's coordinates.

    PDB_ID is such as 4RVY; the file is gzipped mmCIF. Nothing uses it until a recipe or an option
    names it, for example as pdb:4RVY.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from deepfreak.physics.structure_factors.archive import PDB_URL, fetch_entry

    with Progress(
        TextColumn("fetching {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty() or log.level > logging.INFO,
    ) as bar:
        task = bar.add_task(pdb_id, total=None)
        path = fetch_entry(
            pdb_id,
            folder=out,
            url=url or PDB_URL,
            progress=lambda received, total: bar.update(task, completed=received, total=total),
            **options,
        )
    click.echo(path)
    done(f"fetched {pdb_id}", then=f"deepfreak data simulate diffranet --structure {pdb_id}")
