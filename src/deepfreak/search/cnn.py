"""The search for the network: BOHB over topology and training (section 5.2, Table 10)."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.errors import DeepFreakError, OutputError
from deepfreak.models.evaluation import evaluate
from deepfreak.networks import train_network
from deepfreak.search import Outcome, Settings, optimize
from deepfreak.search.cnn_plan import SPACES, Plan, epochs_of
from deepfreak.search.cnn_results import RESULTS, Results
from deepfreak.storage.files import reason_of, whole_file

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.networks.curve import Epoch

JOURNAL = "journal.jsonl"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"
NETWORKS = "networks"

Advance = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]


def first_images(data: "Dataset", count: int | None) -> "Dataset":
    """Return the first `count` images of `data`, or all if there are no more or it is None."""
    if count is None or count >= len(data):
        return data
    # where a subset lies is part of its manifest, which tells it from others
    whole = data.manifest.get("split", {"name": "all", "first": 0})
    part = {"name": f"{whole['name']}-{count}", "first": whole["first"], "count": count}
    chosen = replace(data, splits={"part": (0, count)}).split("part")
    return replace(chosen, manifest=data.manifest | {"split": part})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objective:
    """Part of the `judged` images that a network trained on `train` gets wrong.

    Trains for as many epochs as the budget says, from the checkpoint of the smaller one where it is
    there; without it from the start, which ends in the same weights. Judges two classes where
    `judged` has the two of real images. A network that had the largest budget is kept.

    Parameters
    ----------
    folder
        For checkpoints, of one bracket at a time, and networks.
    epoch_done
        Called with 1 after each epoch.
    """

    train: "Dataset"
    judged: "Dataset"
    folder: Path
    plan: Plan
    device: str | None = None
    epoch_done: Advance = lambda _: None

    def __call__(
        self,
        chosen: Settings,
        budget: float,
        seed: int,
        *,
        configuration: str,
        continue_from: float | None,
    ) -> Outcome:
        """Return the loss; diverging and too little memory raise a `DeepFreakError`."""
        epochs = epochs_of(budget)
        asked = epochs - (0 if continue_from is None else epochs_of(continue_from))
        trained = 0

        def count(_: "Epoch") -> None:
            nonlocal trained
            trained += 1
            self.epoch_done(1)

        self._forget_former_brackets(configuration)
        place = self.folder / CHECKPOINTS / configuration
        settled = self.plan.configuration(chosen)
        try:
            made = train_network(
                self.train,
                architecture=settled.topology,
                training=settled.training,
                out=place,
                seed=seed,
                until=epochs,
                device=self.device,
                on_epoch=count,
            )
            found = evaluate(made.model, self.judged)
        finally:
            # what failed, or a killed run had done already, is no longer to do
            self.epoch_done(max(asked - trained, 0))
        if not np.isfinite(found.probabilities).all():
            raise DeepFreakError(
                "expected finite probabilities, found others: the weights diverged"
            )
        if epochs == self.plan.max_epochs:
            _keep(
                place / "weights.safetensors",
                self.folder / NETWORKS / f"{configuration}.safetensors",
            )
        hits, total = found.accuracy.hits, found.accuracy.total
        last = made.history[-1]
        info = {
            "hits": hits,
            "total": total,
            "epochs": epochs,
            "epochs_trained": trained,
            "train_accuracy": last.accuracy,
        }
        return Outcome(1 - found.accuracy.value, info)

    def _forget_former_brackets(self, configuration: str) -> None:
        """Remove checkpoints from which nothing will go on, since their bracket is over."""
        bracket = configuration.partition("-")[0]
        for place in (self.folder / CHECKPOINTS).glob("*-*-*"):
            if place.name.partition("-")[0] != bracket:
                shutil.rmtree(place)


def _keep(weights: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, kept)


def search(
    train: "Dataset",
    judged: "Dataset",
    out: str | Path,
    *,
    plan: Plan | None = None,
    device: str | None = None,
    time_limit_s: float = math.inf,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Results:
    """Look for the network that, taught the images of `train`, judges those of `judged` best.

    The folder `out` gets `journal.jsonl`, from which the same call goes on however a run ended,
    `results.json`, `report.html`, checkpoints of the bracket under way, and in `networks` the
    weights of each configuration that was trained for all epochs. What is found depends on the
    images and the plan, and by the last bits of sums on the machine.

    Parameters
    ----------
    judged
        Other images: of the same classes, or real ones of two, to which verdicts are then grouped.
    device
        Such as "cpu" or "cuda"; by default a GPU where there is one.
    time_limit_s
        No training begins later; what is under way then is finished.
    progress, say
        Get what is shown meanwhile: a bar of epochs, and a line for each training.

    Raises
    ------
    DatasetError
        Classes do not fit or have no images.
    BackendError
        There is no such device.
    InputError, OutputError
        `out` holds another search or one under way, or cannot be written.
    """
    from deepfreak.models.evaluation import must_group
    from deepfreak.networks.batches.stored import StoredImages
    from deepfreak.networks.processes import processes
    from deepfreak.reports.networks import write_cnn_search_page

    plan, folder = plan or Plan(), Path(out)
    # whatever is wrong with all trainings must not be recorded as the failure of each
    must_group(tuple(train.classes), judged)
    with processes(device) as group:
        StoredImages(train, group, resident=False).check_classes()
    purpose = {
        "train": described(train),
        "judged": described(judged),
        "max_epochs": plan.max_epochs,
        "space": plan.space,
        "filters": plan.filters,
        "precision": plan.precision,
        "normalise": plan.normalise,
    }
    _make_folder(folder)
    total = plan.hyperband.evaluations(plan.iterations)
    recorded = _recorded(folder / JOURNAL)
    count = 0

    def ended(made: int) -> None:
        nonlocal count
        count += made
        if count > len(recorded):
            say(f"{count} of {total}: {_last_line(folder / JOURNAL)}")

    left = plan.epochs - sum(map(_epochs_asked, recorded))
    with (progress or no_progress)("epochs", max(left, 0)) as advance:
        found = optimize(
            Objective(
                train=train,
                judged=judged,
                folder=folder,
                plan=plan,
                device=device,
                epoch_done=advance,
            ),
            SPACES[plan.space],
            plan.hyperband,
            iterations=plan.iterations,
            seed=plan.seed,
            continues=True,
            journal=folder / JOURNAL,
            purpose=purpose,
            time_limit_s=time_limit_s,
            advance=ended,
        )
    results = Results(plan=plan, purpose=purpose, found=found)
    values = results.to_json()
    with whole_file(folder / RESULTS, overwrite=True) as partial:
        partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
    write_cnn_search_page(folder / REPORT, values, overwrite=True)
    return results


@contextmanager
def no_progress(_what: str, _total: int) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda _done: None


def described(data: "Dataset") -> dict[str, Any]:
    """Return what tells images from others, as JSON values."""
    manifest = json.dumps(data.manifest, sort_keys=True).encode()
    return {
        "name": data.path.name,
        "count": len(data),
        "classes": list(data.classes),
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "labels_sha256": hashlib.sha256(data.labels.tobytes()).hexdigest(),
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {reason_of(error)}") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"no permission to write into {folder}; choose another --out")


def _recorded(path: Path) -> list[dict[str, Any]]:
    """Return the evaluations in a journal, as far as it can be read; `optimize` judges it."""
    try:
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[1:-1]]
    except (OSError, ValueError):
        return []


def _epochs_asked(record: Mapping[str, Any]) -> int:
    before = record.get("continue_from")
    return epochs_of(record["budget"]) - (0 if before is None else epochs_of(before))


def _last_line(path: Path) -> str:
    """Return in words what the last evaluation in a journal came to."""
    record = _recorded(path)[-1]
    chosen = record["settings"]
    what = (
        f"topology {chosen['topology']}, rate {chosen['learning_rate']:.2g}, momentum "
        f"{chosen['momentum']:.2f}, batches of {chosen['batch_size']}, "
        f"{epochs_of(record['budget'])} epochs"
    )
    if record["loss"] is None:
        return f"{what}: {record['error']}"
    return f"{100 * (1 - record['loss']):.2f} % by {what}"
