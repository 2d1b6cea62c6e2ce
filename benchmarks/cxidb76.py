"""Score a model on the five labelled runs of CXIDB 76, untuned, beside DIALS's numbers of spots.

Run: python benchmarks/cxidb76.py DIRECTORY --labels DIRECTORY [--runs LN84 LO19] [--workers 2]
     [--model FILE] [--frames 1401-2000] [--records DIRECTORY] [--json FILE] [--markdown]

DIRECTORY holds the runs' HDF5 files, at any depth; --labels names a copy of the repository
nksauter/fv5080, or its directory `annotation`. The result of each frame is appended to a file in
--records, from which the same command resumes. docs/cxidb76.md says where the data are, how the
labels are used and what is unknown.

Exit codes: 0; 1 if the output failed; 2 for wrong input; 3 where some runs or frames could not be
read; 130 after Ctrl-C.
"""

import argparse
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from yardstick.labels import Labels, read_labels
from yardstick.layout import Layout, find_file, read_layout
from yardstick.results import Job, screen_run, screener_of
from yardstick.scores import figures
from yardstick.table import NOTES, PUBLISHED, as_text, table

import deepfreak
from deepfreak.errors import DeepFreakError, InputError, OutputError
from deepfreak.processors import usable_processors
from deepfreak.storage.files import check_output, whole_file

LEAST_AGREEMENT = 0.3  # of our peaks with DIALS's spots, where frames and labels belong together


def by_run(pairs: Iterable[str], what: str) -> dict[str, str]:
    """Return the values of `RUN=VALUE` by run."""
    found = {}
    for pair in pairs:
        run, _, value = pair.partition("=")
        if not value or run not in PUBLISHED:
            raise InputError(
                f"expected --{what} RUN=VALUE with a run of {', '.join(PUBLISHED)}, found {pair}"
            )
        found[run] = value
    return found


def numbers_in(text: str | None) -> range | None:
    """Return the frames that `1401-2000` names; None for all."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"expected --frames FIRST-LAST, numbers from 1, found {text}")
    return range(int(match[1]), int(match[2]) + 1)


def number(text: str, what: str) -> float:
    """Return a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"expected a positive number for --{what}, found {text}")
    return value


def job_of(run: str, path: Path, layout: Layout, labels: Labels, given: argparse.Namespace) -> Job:
    """Return what a worker must know of a run."""
    mask = None if given.no_masks else labels.mask
    gain = given.gain.get(run)
    geometry = given.geometry.get(run)
    return Job(
        path=path,
        metadata=layout.metadata,
        shape=layout.shape,
        model=given.model,
        mask=Path(given.mask[run]) if run in given.mask else mask,
        geometry=Path(geometry) if geometry else None,
        gain=number(gain, "gain") if gain else None,
    )


def warnings_of(
    labels: Labels, layout: Layout, job: Job, frames: range | None, rows: Mapping[int, Any]
) -> list[str]:
    """Return what a reader of a run's figures should know of its files."""
    said = []
    asked = [n for n in labels.expert if frames is None or n in frames]
    lost = sum(n > layout.count for n in asked)
    if lost:
        said.append(
            f"{lost} labels are of frames that {labels.file} does not have, which has "
            f"{layout.count}: is the download complete?"
        )
    without = layout.count - sum(n <= layout.count for n in labels.expert)
    if without and frames is None:
        said.append(f"{without} frames have no label and were left out")
    if labels.dials is None:
        said.append("expected dials_annotation.txt beside the labels, found none: no DIALS figures")
    if job.geometry is None and layout.metadata.beam_center_px is None:
        said.append(
            "the file gives no beam centre inside the frame: rings are searched for without"
        )
    unreadable = [row["error"] for row in rows.values() if "error" in row]
    if unreadable:
        said.append(f"{len(unreadable)} frames could not be read; the first: {unreadable[0]}")
    return said


def score_run(run: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a run, how they were made, and what to know of them."""
    labels = read_labels(options.labels, run)
    path = find_file(options.directory, labels.file)
    layout = read_layout(path)
    job = job_of(run, path, layout, labels, options)
    wanted = sorted(
        n
        for n in labels.expert
        if n <= layout.count and (options.frames is None or n in options.frames)
    )
    rows = screen_run(run, job, layout, wanted, options.records, options.workers)
    found = figures(rows, labels.expert, labels.dials)
    warnings = warnings_of(labels, layout, job, options.frames, rows)
    agreement = found.get("peaks_against_spots")
    if agreement is not None and agreement < LEAST_AGREEMENT:
        warnings.append(
            f"our peaks and DIALS's spots have a rank correlation of {agreement:.2f}: do frames "
            "and labels belong together, in the same order?"
        )
    found["settings"] = {
        "file": labels.file,
        "frames": layout.count,
        "shape": list(layout.shape),
        "metadata": {k: v for k, v in asdict(layout.metadata).items() if k != "areas"},
        "active_areas": len(layout.metadata.areas),
        "mask": job.mask.name if job.mask else None,
        "geometry": job.geometry.name if job.geometry else None,
        "gain": job.gain,
    }
    return found | {"warnings": warnings}


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's options, those of single runs as dictionaries."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="where the HDF5 files are")
    parser.add_argument("--labels", type=Path, required=True, help="a copy of nksauter/fv5080")
    parser.add_argument("--model", type=Path, help="the shipped default model without it")
    parser.add_argument("--runs", nargs="+", choices=list(PUBLISHED), default=list(PUBLISHED))
    parser.add_argument("--frames", help="FIRST-LAST, numbers from 1; all without it")
    parser.add_argument("--workers", type=int, default=usable_processors())
    parser.add_argument("--records", type=Path, default=Path("cxidb76-records"))
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--no-masks", action="store_true", help="do not use the labels' masks")
    of_a_run = {
        "mask": "FILE in place of the mask beside the labels",
        "geometry": "FILE with panels and beam, in place of the file's metadata",
        "gain": "counts of one photon; estimated from each frame without it",
    }
    for name, text in of_a_run.items():
        parser.add_argument(f"--{name}", action="append", default=[], metavar="RUN=X", help=text)
    options = parser.parse_args(arguments)
    for name in of_a_run:
        setattr(options, name, by_run(getattr(options, name), name))
    options.frames = numbers_in(options.frames)
    if options.workers < 1:
        raise InputError(f"expected at least 1 worker, found {options.workers}")
    for place in (options.directory, options.labels):
        if not place.is_dir():
            raise InputError(f"expected a directory, found none at {place}")
    return options


def score_all(options: argparse.Namespace) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the figures of the runs that could be scored, and why the others could not."""
    found: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for run in dict.fromkeys(options.runs):
        try:
            found[run] = score_run(run, options)
        except InputError as error:
            failed[run] = str(error)
        for text in [failed[run]] if run in failed else found[run]["warnings"]:
            sys.stderr.write(f"cxidb76: {run}: {text}\n")
    if not found:
        raise InputError(f"expected runs of CXIDB 76 in {options.directory}, none could be read")
    return found, failed


def compare(options: argparse.Namespace) -> int:
    """Print the table, and return the exit code."""
    screener = screener_of(options.model)
    if options.json is not None:  # rather said now than in the end
        check_output(options.json, overwrite=True)
    try:
        options.records.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {options.records}: {error.strerror or error}") from error
    if options.workers > 1:  # none may take the cores of the others
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
            os.environ.setdefault(name, "1")
    found, failed = score_all(options)
    policy = screener.policy
    head = f"DeepFreak {deepfreak.__version__}, {screener.model.name}, untuned"
    if policy is not None:
        head += f": discard below {policy.discard_below:.3g}, keep from {policy.keep_from:.3g}"
    notes = [textwrap.fill(note, 100) for note in NOTES]
    print(head, as_text(table(found), markdown=options.markdown), *notes, sep="\n\n")
    if options.json is not None:
        content = {
            "version": deepfreak.__version__,
            "model": screener.model.name,
            "policy": None if policy is None else policy.to_json(),
            "runs": found,
            "failed": failed,
            "published": {run: asdict(one) for run, one in PUBLISHED.items()},
            "notes": NOTES,
        }
        with whole_file(options.json, overwrite=True) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n")
    return 3 if failed or any(one["unreadable"] for one in found.values()) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        return compare(parsed(arguments))
    except DeepFreakError as error:
        sys.stderr.write(f"cxidb76: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("cxidb76: stopped; the same command resumes\n")
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
