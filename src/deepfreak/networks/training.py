"""Training in one visible loop: what the weights see, in which order, and what is written when."""

import copy
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from deepfreak.datasets import Dataset
from deepfreak.errors import BackendError, DatasetError, DeepFreakError, OutputError, RecipeError
from deepfreak.networks.architecture import Architecture
from deepfreak.networks.augmentation import change, draw_changes, measured
from deepfreak.networks.batches import (
    STEP,
    Batch,
    Fresh,
    Source,
    StoredImages,
    generator,
    source_of,
)
from deepfreak.networks.checkpoint import FORMAT, save_network
from deepfreak.networks.configuration import Training
from deepfreak.networks.cuda_graph import CudaGraphStep, Step
from deepfreak.networks.network import Network, NetworkModel, build_network, fingerprint
from deepfreak.networks.processes import Processes, processes
from deepfreak.networks.state import Epoch, State, write_curve
from deepfreak.networks.targets import Targets, volume_error
from deepfreak.storage.files import versions

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "weights.safetensors"
CURVE = "curve.jsonl"

# Reading a GPU's numbers makes the host wait, so it is done now and then only.
STEPS_BETWEEN_CHECKS = 50
VALIDATION_BATCH = 64

Advance = Callable[[int], None]
Show = Callable[[str, int], AbstractContextManager[Advance]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """The result of a training: the network, and the learning curve."""

    model: NetworkModel
    history: tuple[Epoch, ...]


def train_network(  # noqa: C901, PLR0912, PLR0915 -- all that happens to the weights, in one place
    data: Dataset | Fresh,
    *,
    architecture: Architecture,
    training: Training,
    out: str | Path,
    seed: int = 0,
    also: Sequence[Dataset] = (),
    validation: Dataset | None = None,
    until: int | None = None,
    device: str | None = None,
    save_every_steps: int = 1000,
    cuda_graph: bool = True,
    show: Show | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Train a network on `data`, or resume the training in the directory `out`.

    The weights depend on the images, the settings and the seed, and in their last bits on the
    device, its threads and the number of processes; not on how often training was interrupted. The
    directory holds `checkpoint.safetensors`, from which it resumes, `curve.jsonl`, and at the end
    `weights.safetensors`, which `load_network` reads.

    `data` is a data set, best a `memory_map`, or `Fresh` shots; all processes that torchrun started
    share each batch. `also` are further images of which only the group is known, with diffraction
    or without: an epoch shows all images of `data` and of these in one order, see `Targets`.
    Training stops after `until` epochs, by default all: a later call with a larger number resumes
    there; with a smaller one, only the history is cut. `device` is such as "cpu" or "cuda", by
    default a GPU where there is one. A checkpoint is written at the ends of epochs and every
    `save_every_steps`. With `cuda_graph` a single GPU replays its steps as a CUDA graph; the
    weights are the same. `show` shows progress, such as `progress.progress`; `on_epoch` is called
    at the end of each epoch. Raises `DatasetError` if a class has no image, images are not square,
    validation images have other classes, or further ones another size or no groups; `RecipeError`
    if the settings do not fit the images or the processes; `OutputError` if the directory holds
    another training or cannot be written; `ModelError` if the checkpoint in it is damaged;
    `BackendError` if there is no such device or memory is too small; `DeepFreakError` if the loss
    became infinite or not a number.
    """
    folder = Path(out)
    last = training.epochs if until is None else until
    if not 1 <= last <= training.epochs:
        raise RecipeError(f"expected to stop after 1 to {training.epochs} epochs, found {last}")
    with processes(device) as group, reproducible(group.device), _in_one_line(training):
        source = source_of(data, group, also=also)
        held_out = None if validation is None else StoredImages(validation, group)
        _check(source, held_out, training, group)
        plan: dict[str, Any] = {
            "architecture": architecture.settings(),
            "training": training.settings(),
            "classes": list(source.classes),
            "side": source.side,
            "seed": seed,
            "data": source.describe(),
            "validation": {} if held_out is None else held_out.describe(),
            "processes": group.count,
        }
        torch.manual_seed(seed)
        network = build_network(
            architecture, training.inputs, classes=len(source.classes), side=source.side
        )
        _check_volume(network, architecture, training)
        state = new_state(network, training, group.device)
        if (folder / CHECKPOINT).exists():
            state.resume(folder / CHECKPOINT, plan, group)
        else:
            _make_folder(folder)
            _set_mean(state, source, training)

        targets = Targets.of(source.classes, with_groups=bool(also), device=group.device)
        step = gradient_step(group.together(network), targets, training, group.device)
        # the exchange of gradients between processes is not captured
        if cuda_graph and group.device.type == "cuda" and group.count == 1:
            step = CudaGraphStep(
                step=step, network=network, batch=training.batch, device=group.device
            )
        steps = source.steps(training.batch)
        begin = state.epoch * steps + state.step
        batches = source.batches(batch=training.batch, seed=seed, first=begin)
        shown = show if show is not None and group.leads else _show_nothing
        with shown("training", max(last * steps - begin, 0) * training.batch) as advance:
            while state.epoch < last:
                network.train()
                while state.step < steps:
                    done = state.epoch * steps + state.step
                    # (n, side, side) uint8, (n,), (n,), (n, side, side) bool or None
                    images, labels, volumes, valid = next(batches)
                    # All that is random about a step follows from its number.
                    rng = generator(seed, STEP, done)
                    changes = draw_changes(training.augmentation, len(labels) * group.count, rng)
                    changes = changes.share(group.rank, group.count)
                    images = change(images, changes, pedestal=training.augmentation.pedestal)
                    valid = measured(changes, side=source.side, device=group.device, valid=valid)
                    torch.manual_seed(int(rng.integers(2**62)) + group.rank)
                    rate = training.learning_rate_at(done / steps)
                    for parameters in state.optimizer.param_groups:
                        parameters["lr"] = rate

                    # forwards and back, the mean loss () and the images classified correctly ()
                    loss, hits = step(Batch(images, labels, volumes, valid))
                    state.optimizer.step()
                    if training.average:
                        # a young mean with a slow decay would remember the initial weights
                        decay = min(training.average, (1 + done) / (10 + done))
                        update_ema(state.average, network, decay=decay)

                    count = torch.full_like(hits, len(labels))
                    state.counts += torch.stack([loss.double() * len(labels), hits, count])
                    state.step += 1
                    advance(len(labels) * group.count)
                    if state.step % STEPS_BETWEEN_CHECKS == 0:
                        _check_finite(state.counts, state)
                    if state.step % save_every_steps == 0 and state.step < steps:
                        _check_finite(group.total(state.counts), state)
                        state.save(folder / CHECKPOINT, plan, group)

                total = group.total(state.counts)
                _check_finite(total, state)
                loss_sum, correct, images_shown = total.tolist()
                validated: tuple[float | None, float | None] = (None, None)
                if held_out is not None:
                    validated = _validate(state, held_out, training, group)
                row = Epoch(
                    epoch=state.epoch + 1,
                    learning_rate=rate,
                    loss=loss_sum / images_shown,
                    accuracy=correct / images_shown,
                    validation_loss=validated[0],
                    validation_accuracy=validated[1],
                    images=int(images_shown),
                    seconds=round(state.elapsed_s, 3),
                )
                state.history.append(row)
                state.epoch, state.step = state.epoch + 1, 0
                state.counts.zero_()
                state.save(folder / CHECKPOINT, plan, group)
                if group.leads:
                    write_curve(folder / CURVE, state.history)
                    if on_epoch is not None:
                        on_epoch(row)

        model = _model(state, plan, group)
        if group.leads:
            save_network(model, folder / WEIGHTS)
    return Trained(model=model, history=tuple(state.history[:last]))


def gradient_step(
    network: nn.Module, targets: Targets, training: Training, device: torch.device
) -> Step:
    """Return a function that leaves the gradients of a batch in `network`; see `Step`."""
    with_volume, in_bf16 = training.volume_weight > 0, training.precision == "bf16"

    def step(batch: Batch) -> tuple[Tensor, Tensor]:
        images, labels, volumes, valid = batch
        network.zero_grad(set_to_none=True)
        # each weight is used once, so a cache of its bf16 copy would gain nothing
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16, cache_enabled=False):
            found = network(images, valid, with_volume=with_volume)
            logits = found[0] if with_volume else found  # (n, classes)
            loss = targets.loss(logits, labels, label_smoothing=training.label_smoothing)
            total_loss = loss
            if with_volume:
                total_loss = loss + training.volume_weight * volume_error(found[1], volumes)
        total_loss.backward()
        return loss.detach(), targets.hits(logits, labels)

    return step


def update_ema(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    """Move the running mean of the weights towards those of `network`."""
    update = get_ema_multi_avg_fn(decay)
    with torch.no_grad():
        update(list(average.parameters()), list(network.parameters()), 0)
        for kept, new in zip(average.buffers(), network.buffers(), strict=True):
            if kept.is_floating_point():
                update([kept], [new], 0)
            else:
                kept.copy_(new)


def new_state(network: Network, training: Training, device: torch.device) -> State:
    """Return the state before the first step, with `network` on `device`."""
    network.to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # is documented
    return State(
        network=network,
        average=copy.deepcopy(network) if training.average else network,
        optimizer=_make_optimizer(network, training),
        counts=torch.zeros(3, dtype=torch.float64, device=device),
    )


def _make_optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
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
        groups, lr=training.learning_rate, momentum=training.momentum, nesterov=training.nesterov
    )


def _check(
    source: Source, held_out: StoredImages | None, training: Training, group: Processes
) -> None:
    """Check that the settings fit the images, before any work is done."""
    source.check_classes()
    if training.volume_weight:
        source.check_volumes()
    if held_out is not None and (held_out.classes, held_out.side) != (source.classes, source.side):
        raise DatasetError(
            f"expected validation images of {source.side} x {source.side} in the classes "
            f"{', '.join(source.classes)}, found {held_out.side} x {held_out.side} in "
            f"{', '.join(held_out.classes)}: use a data set made like the training images"
        )
    if training.batch % group.count:
        raise RecipeError(
            f"expected a batch that {group.count} processes can share, found {training.batch}: "
            f"use a multiple of {group.count}"
        )
    if source.steps(training.batch) == 0:
        raise RecipeError(
            f"expected at least one batch an epoch, found batches of {training.batch}, which is "
            "more than there are images: use smaller ones"
        )


def _check_volume(network: Network, architecture: Architecture, training: Training) -> None:
    if training.volume_weight and not hasattr(network.body, "with_volume"):
        raise RecipeError(
            f"expected a network that estimates volumes, to weigh them {training.volume_weight:g} "
            f"times, found the architecture {architecture.name!r}: use volume_weight=0"
        )


def _check_finite(counts: Tensor, state: State) -> None:
    """Raise `DeepFreakError` if the sum of the losses is infinite or not a number."""
    loss = float(counts[0])
    if not math.isfinite(loss):
        raise DeepFreakError(
            f"expected a finite loss, found {loss} in epoch {state.epoch + 1}, by step "
            f"{state.step}: use a learning rate below {state.optimizer.param_groups[0]['lr']:g} "
            "or more warm-up"
        )


def _set_mean(state: State, source: Source, training: Training) -> None:
    """Give the network the mean of the training images, as its inputs ask for."""
    if training.inputs.subtract == "nothing":
        return
    mean = torch.from_numpy(source.mean() / 255)
    mean = mean if training.inputs.subtract == "pixel mean" else mean.mean()
    for network in (state.network, state.average):
        network.mean.copy_(mean)


def _validate(
    state: State, held_out: StoredImages, training: Training, group: Processes
) -> tuple[float, float]:
    """Return mean loss and accuracy of the averaged network on images held out."""
    network = state.average.eval()
    group.copy_buffers(network)
    counts = torch.zeros_like(state.counts)
    in_bf16 = training.precision == "bf16"
    with torch.inference_mode():
        for images, labels, _, valid in held_out.in_order(VALIDATION_BATCH):
            with torch.autocast(group.device.type, torch.bfloat16, enabled=in_bf16):
                logits = network(images, valid)
                loss = cross_entropy(logits, labels, reduction="sum")
            hits = (logits.argmax(1) == labels).sum()
            counts += torch.stack([loss.double(), hits, torch.full_like(hits, len(labels))])
    total = group.total(counts)
    _check_finite(total, state)
    loss_sum, correct, images_shown = total.tolist()
    return loss_sum / images_shown, correct / images_shown


def _model(state: State, plan: dict[str, Any], group: Processes) -> NetworkModel:
    """Return the trained network with its manifest."""
    network = state.average.eval()
    group.copy_buffers(network)
    result = asdict(state.history[-1])
    # the same weights give the same file, however long they took
    del result["seconds"]
    manifest = {
        "format": FORMAT,
        "inputs": plan["training"]["inputs"],
        **plan,
        "result": result,
        "versions": versions("torch", "numpy", "safetensors"),
        "weights_sha256": fingerprint(network),
    }
    return NetworkModel(
        network=network, side=plan["side"], classes=tuple(plan["classes"]), manifest=manifest
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the directory {folder}: {error.strerror}; choose another --out"
        ) from error


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Compute reproducibly inside the block, and restore torch's settings."""
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        # without allow_tf32=False what is called float32 would have ten bits of mantissa
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        yield


@contextmanager
def _in_one_line(training: Training) -> Iterator[None]:
    """Turn torch's errors of many lines into ours of one."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lacks_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or re.search(
            "can't allocate memory|CUDA error: out of memory", str(error)
        )
        if not lacks_memory:
            raise
        raise BackendError(
            f"expected memory for batches of {training.batch}, found too little: use smaller "
            "batches or a smaller network"
        ) from error
    except ValueError as error:
        if re.search("more than 1 (value per channel|spatial element)", str(error)):
            raise RecipeError(
                "expected more than one pixel or image to normalise over, found maps of one pixel "
                "in a batch of one: use larger batches, larger images or smaller strides"
            ) from error
        raise


def _show_nothing(_what: str, _total: int) -> AbstractContextManager[Advance]:
    return nullcontext(lambda _done: None)
