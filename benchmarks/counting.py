"""Compare models with plain counts of peaks at native resolution, on labelled frames.

Run: python benchmarks/counting.py FOLDER LABELS.csv [--model FILE ...] [--frames]

LABELS.csv has one line per file, `file,label,source`. The label is hit, clean (a miss: dark, air,
solvent) or hard (a miss: rings, zingers, layer lines); the source is where the frame comes from. A
header line is skipped. The tables show the AUC of hits against clean and hard misses, with equal
weight for each source and a bootstrap interval over sources, and each model's decisions: keep,
unsure, discard. Without --model only peaks are counted; `--model default` is the shipped model.
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfreak.evidence import Evidence, find_evidence
from deepfreak.formats import read_frames
from deepfreak.models import load_model
from deepfreak.screening.policy import find_policy
from deepfreak.screening.screener import Screener

LABELS = ("hit", "clean", "hard")
THRESHOLDS = (5, 7, 10, 20)
DRAWS = 2000
DECISIONS = ("keep", "unsure", "discard", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One frame with its label, and scores by name: a higher score means more like a crystal."""

    file: str
    label: str
    source: str
    scores: dict[str, float]
    decisions: dict[str, str]


def screener(name: str) -> Screener:
    """Return a screener with a model and the thresholds of the scores beside its file."""
    file = None if name == "default" else Path(name)
    model = load_model(file)
    return Screener(model, find_policy(model, model=file)[0])


def count_scores(evidence: Evidence) -> dict[str, float]:
    """Return the scores that need no model."""
    peaks, off = evidence.peaks, evidence.off_rings
    scores: dict[str, float] = {}
    for z in THRESHOLDS:
        scores[f"peaks, z > {z}"] = np.count_nonzero(peaks.z >= z)
    for z in THRESHOLDS:
        scores[f"off rings, z > {z}"] = np.count_nonzero(off.z >= z)
    for z in THRESHOLDS:
        left = 1 - evidence.rings.share
        scores[f"peaks x (1 - share on rings), z > {z}"] = scores[f"peaks, z > {z}"] * left
    even = 1 / (1 + max(evidence.rings.gathering, 0.0))
    scores["off rings, z > 7, / (1 + gathering)"] = scores["off rings, z > 7"] * even
    return scores


def read_labels(path: Path) -> list[tuple[str, str, str]]:
    """Return file, label and source of each line."""
    with path.open(newline="") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    rows = [row for row in rows if row[:2] != ["file", "label"]]
    for row in rows:
        if len(row) != 3 or row[1] not in LABELS:
            raise SystemExit(f"expected file,label,source with a label of {LABELS}, found {row}")
    return [(row[0], row[1], row[2]) for row in rows]


def weights(sources: np.ndarray) -> np.ndarray:
    """Return weights of frames that give each source the same weight."""
    _, which, numbers = np.unique(sources, return_inverse=True, return_counts=True)
    return 1.0 / numbers[which]


def auc(hits: np.ndarray, misses: np.ndarray, w_hits: np.ndarray, w_misses: np.ndarray) -> float:
    """Return the weighted AUC: how often a hit scores above a miss; ties count half."""
    over = (hits[:, None] > misses[None]) + 0.5 * (hits[:, None] == misses[None])
    return float(w_hits @ over @ w_misses / (w_hits.sum() * w_misses.sum()))


def interval(
    hits: np.ndarray, misses: np.ndarray, hit_sources: np.ndarray, miss_sources: np.ndarray
) -> tuple[float, float, float]:
    """Return the AUC and its 95 % bootstrap interval over sources."""
    rng = np.random.default_rng(0)
    whole = weights(hit_sources), weights(miss_sources)
    drawn = []
    for _ in range(DRAWS):
        both = []
        for sources, one in ((hit_sources, whole[0]), (miss_sources, whole[1])):
            names, which = np.unique(sources, return_inverse=True)
            times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
            both.append(one * times[which])
        drawn.append(auc(hits, misses, *both))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return auc(hits, misses, *whole), float(low), float(high)


def measure(
    folder: Path, rows: list[tuple[str, str, str]], screeners: dict[str, Screener]
) -> list[Labelled]:
    """Return the scores of the first frame of each file."""
    found = []
    for file, label, source in rows:
        frame = next(iter(read_frames(folder / file)))
        scores, decisions = count_scores(find_evidence(frame)), {}
        for name, screener in screeners.items():
            verdict = screener(frame)
            scores[name] = verdict.p_crystal
            decisions[name] = getattr(verdict, "decision", None) or "none"
        found.append(
            Labelled(file=file, label=label, source=source, scores=scores, decisions=decisions)
        )
    return found


def table(frames: list[Labelled]) -> list[str]:
    """Return the lines of the table of AUCs."""
    width = max(len(name) for name in frames[0].scores)
    lines = [f"{'score':<{width}}  {'hits / clean misses':<22}{'hits / hard misses':<22}"]
    for name in frames[0].scores:
        line = f"{name:<{width}}  "
        for against in ("clean", "hard"):
            hits = [frame for frame in frames if frame.label == "hit"]
            misses = [frame for frame in frames if frame.label == against]
            if not hits or not misses:
                line += f"{'-':<22}"
                continue
            value, low, high = interval(
                np.array([frame.scores[name] for frame in hits]),
                np.array([frame.scores[name] for frame in misses]),
                np.array([frame.source for frame in hits]),
                np.array([frame.source for frame in misses]),
            )
            line += f"{f'{value:.3f} [{low:.2f}, {high:.2f}]':<22}"
        lines.append(line.rstrip())
    return lines


def decided(frames: list[Labelled], name: str) -> list[str]:
    """Return the lines of what a model would do with the frames."""
    lines = [f"{name:<12}" + "".join(f"{one:>9}" for one in DECISIONS)]
    for label in LABELS:
        said = [frame.decisions[name] for frame in frames if frame.label == label]
        lines.append(f"{label:<12}" + "".join(f"{said.count(one):>9}" for one in DECISIONS))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument(
        "--model", action="append", default=[], help="model file or name, e.g. default"
    )
    parser.add_argument("--frames", action="store_true", help="also print a line for each frame")
    arguments = parser.parse_args()
    screeners = {Path(one).name: screener(one) for one in arguments.model}
    frames = measure(arguments.folder, read_labels(arguments.labels), screeners)
    numbers = ", ".join(
        f"{sum(one.label == label for one in frames)} {label}"
        f" of {len({one.source for one in frames if one.label == label})} sources"
        for label in LABELS
    )
    print(numbers)
    print("\n".join(table(frames)))
    for name in screeners:
        print("\n" + "\n".join(decided(frames, name)))
    if arguments.frames:
        print()
        for one in frames:
            scores = [one.scores[f"peaks, z > {z}"] for z in THRESHOLDS]
            said = [f"{one.scores[name]:.3f} {one.decisions[name]}" for name in screeners]
            print(f"{one.file:<36}{one.label:<7}", *(f"{score:>6g}" for score in scores), *said)


if __name__ == "__main__":
    main()
