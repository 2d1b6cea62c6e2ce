"""All that training changes, and how it is kept in a checkpoint and taken up again."""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from deepfreak.errors import DeepFreakError, ModelError, OutputError
from deepfreak.networks.checkpoint import read_record, restore, save_checkpoint
from deepfreak.networks.curve import Epoch
from deepfreak.networks.network import Network
from deepfreak.networks.processes import Processes
from deepfreak.networks.recipe import Training
from deepfreak.storage.files import versions


@dataclass(slots=True, kw_only=True, eq=False)
class State:
    """A network on its way.

    Attributes
    ----------
    average
        Running mean of `network`, or `network` itself.
    epoch, step
        What comes next: step `step` of epoch `epoch`, both counted from 0.
    tally
        Of the epoch under way, (3,): sum of the losses, images judged rightly, images.
    seconds
        That earlier runs took.
    """

    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    tally: Tensor
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, network: Network, training: Training, device: torch.device) -> "State":
        """Return the state before the first step."""
        network.to(device)
        if device.type == "cuda":
            network.to(memory_format=torch.channels_last)
        return cls(
            network=network,
            average=copy.deepcopy(network) if training.average else network,
            optimizer=make_optimizer(network, training),
            tally=torch.zeros(3, dtype=torch.float64, device=device),
        )

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, without what was lost."""
        return self.seconds + time.monotonic() - self._began

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What has weights, by name."""
        both = {"network": self.network, "average": self.average}
        return both if self.average is not self.network else {"network": self.network}

    def count(self, loss: Tensor, hits: Tensor, images: int) -> None:
        """Add a step's mean loss, hits and images to the tally; waits for no device."""
        count = torch.full_like(hits, images)
        self.tally += torch.stack([loss.detach().double() * images, hits, count])

    def blend(self, step: int, decay: float) -> None:
        """Move `average` towards `network` after step `step` of all."""
        if self.average is self.network:
            return
        # a mean that is young would remember the weights that it began with
        blend = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))
        with torch.no_grad():
            blend(list(self.average.parameters()), list(self.network.parameters()), step)
            for kept, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                if kept.is_floating_point():
                    blend([kept], [new], step)
                else:
                    kept.copy_(new)

    def check(self, tally: Tensor) -> None:
        """Refuse to go on with a loss that is no number.

        Raises
        ------
        DeepFreakError
            With the place and the learning rate.
        """
        if not math.isfinite(float(tally[0])):
            rate = self.optimizer.param_groups[0]["lr"]
            raise DeepFreakError(
                f"expected a finite loss, found {float(tally[0])} in epoch {self.epoch + 1}, "
                f"by step {self.step}: use a learning rate below {rate:g} or more warm-up"
            )

    def save(self, path: Path, plan: Mapping[str, Any], processes: Processes) -> None:
        """Write a checkpoint; all processes call it, the first writes.

        Raises
        ------
        OutputError
            It cannot be written.
        DeepFreakError
            The loss is no number.
        """
        total = processes.total(self.tally)
        self.check(total)
        self.tally = total if processes.leads else torch.zeros_like(total)
        if not processes.leads:
            return
        record = {
            "plan": dict(plan),
            "epoch": self.epoch,
            "step": self.step,
            "tally": total.tolist(),
            "seconds": round(self.elapsed_s, 3),
            "history": [asdict(row) for row in self.history],
            "versions": versions("torch", "numpy", "safetensors"),
        }
        save_checkpoint(path, networks=self.networks, optimizer=self.optimizer, record=record)

    def resume(self, path: Path, plan: Mapping[str, Any], processes: Processes) -> None:
        """Take up what `save` wrote.

        Raises
        ------
        OutputError
            It belongs to a training with another plan.
        ModelError
            It is damaged.
        """
        record = read_record(path)
        try:
            _check_same(plan, record["plan"], path)
            self.epoch, self.step = int(record["epoch"]), int(record["step"])
            self.seconds = float(record["seconds"])
            self.history = [Epoch(**row) for row in record["history"]]
            tally = torch.tensor(record["tally"], dtype=torch.float64).reshape(3)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path}: expected a checkpoint, found one without {error}") from error
        self.tally = (tally if processes.leads else torch.zeros_like(tally)).to(self.tally.device)
        restore(path, networks=self.networks, optimizer=self.optimizer)


def make_optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Return the optimizer; its learning rate is set at each step."""
    weights = list(network.parameters())
    decay = training.weight_decay
    # biases and normalisations have one dimension
    groups = [
        {"params": [each for each in weights if each.ndim > 1], "weight_decay": decay},
        {
            "params": [each for each in weights if each.ndim <= 1],
            "weight_decay": decay if training.decay_all else 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    if training.optimizer == "adamw":
        betas = (training.momentum, training.second_momentum)
        return torch.optim.AdamW(groups, lr=training.learning_rate, betas=betas)
    return torch.optim.SGD(
        groups,
        lr=training.learning_rate,
        momentum=training.momentum,
        nesterov=training.nesterov,
    )


def _check_same(plan: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    ours, theirs = _flat(plan), _flat(found)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise OutputError(
                f"{path.parent} holds a training with {name} {theirs.get(name)!r:.60}, expected "
                f"{ours.get(name)!r:.60}: choose another folder, or remove it to begin anew"
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
