"""All that training changes, its checkpoints, and the learning curve as lines of JSON."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepfreak.errors import ModelError, OutputError
from deepfreak.networks.checkpoint import read_record, restore, save_checkpoint
from deepfreak.networks.network import Network
from deepfreak.networks.processes import Processes
from deepfreak.storage.files import versions, whole_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The results of one epoch.

    `epoch` is the number of epochs done at its end, `learning_rate` that of its last step. `loss`
    and `accuracy` are means over the augmented images, by the network as it was at each step; those
    of validation are of the network after the epoch, None without images. `images` were shown;
    `seconds` are those of training so far, without steps that an interruption lost.
    """

    epoch: int
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    images: int
    seconds: float


def write_curve(path: Path, history: Sequence[Epoch]) -> None:
    """Write one line of JSON an epoch, in place of what was there."""
    lines = "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history)
    with whole_file(path, overwrite=True) as partial:
        partial.write_text(lines, encoding="utf-8")


def read_curve(path: str | Path) -> tuple[Epoch, ...]:
    """Return the epochs that `write_curve` wrote, or raise `ModelError`."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return tuple(Epoch(**json.loads(line)) for line in lines)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: expected a learning curve, found {error}") from error


@dataclass(slots=True, kw_only=True, eq=False)
class State:
    """A network in training.

    `average` is the running mean of `network`, or `network` itself. `counts` (3,) of the current
    epoch: sum of the losses, images classified correctly, images. Step `step` of epoch `epoch`
    comes next, both counted from 0. `seconds` is the duration of earlier runs.
    """

    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    counts: Tensor
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, without steps that were lost."""
        return self.seconds + time.monotonic() - self._began

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What has weights, by name."""
        found: dict[str, nn.Module] = {"network": self.network}
        return found if self.average is self.network else {**found, "average": self.average}

    def save(self, path: Path, plan: Mapping[str, Any], processes: Processes) -> None:
        """Write a checkpoint, or raise `OutputError`; all processes call it, the first writes."""
        total = processes.total(self.counts)
        self.counts = total if processes.leads else torch.zeros_like(total)
        if not processes.leads:
            return
        record = {
            "plan": dict(plan),
            "epoch": self.epoch,
            "step": self.step,
            "counts": total.tolist(),
            "seconds": round(self.elapsed_s, 3),
            "history": [asdict(row) for row in self.history],
            "versions": versions("torch", "numpy", "safetensors"),
        }
        save_checkpoint(path, networks=self.networks, optimizer=self.optimizer, record=record)

    def resume(self, path: Path, plan: Mapping[str, Any], processes: Processes) -> None:
        """Restore what `save` wrote; `OutputError` for another plan, `ModelError` for damage."""
        record = read_record(path)
        try:
            _check_same(plan, record["plan"], path)
            self.epoch, self.step = int(record["epoch"]), int(record["step"])
            self.seconds = float(record["seconds"])
            self.history = [Epoch(**row) for row in record["history"]]
            counts = torch.tensor(record["counts"], dtype=torch.float64).reshape(3)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path}: expected a checkpoint, found one without {error}") from error
        self.counts.copy_(counts if processes.leads else torch.zeros_like(counts))
        restore(path, networks=self.networks, optimizer=self.optimizer)


def _check_same(plan: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    ours, theirs = _flat(plan), _flat(found)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise OutputError(
                f"{path.parent} holds a training with {name} {theirs.get(name)!r:.60}, expected "
                f"{ours.get(name)!r:.60}: choose another directory, or remove it to start again"
            )


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values of nested tables by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[above + name] = list(value) if isinstance(value, tuple) else value
    return flat
