"""What one batch asks of the weights; on a GPU recorded once, then replayed without the host."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from deepfreak.networks.processes import Processes
from deepfreak.networks.recipe import VOLUME_UNIT_MM3, Training
from deepfreak.networks.targets import Targets

if TYPE_CHECKING:
    from deepfreak.networks.batches.batch import Batch

Gradients = Callable[["Batch"], "Answer"]

# The libraries choose and load their kernels in the first steps, which a recording must not see.
STEPS_BEFORE_RECORDING = 3


class Answer(NamedTuple):
    """The mean loss of a batch (), without the volumes', and its images judged rightly ()."""

    loss: Tensor
    hits: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """Forwards and back through a network once.

    Called with a batch, it leaves the gradients in the parameters.
    """

    network: nn.Module
    targets: Targets
    training: Training
    device: torch.device

    def __call__(self, batch: "Batch") -> Answer:
        """Leave the gradients of `batch`, nothing of earlier ones."""
        images, labels, volumes, valid = batch
        with_volume = self.training.volume_weight > 0
        half = self.training.precision == "bf16"
        self.network.zero_grad(set_to_none=True)
        # each weight is used once, so keeping its half would gain nothing
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            answer = self.network(images, valid, with_volume=with_volume)
            logits = answer[0] if with_volume else answer  # (n, classes)
            loss = self.targets.loss(logits, labels, label_smoothing=self.training.label_smoothing)
            aim = loss
            if with_volume:
                aim = loss + self.training.volume_weight * _volume_error(answer[1], volumes)
        aim.backward()
        return Answer(loss.detach(), self.targets.hits(logits, labels))


@dataclass(slots=True, kw_only=True, eq=False)
class RecordedStep:
    """A `Step` whose work for whole batches is given to a GPU as one CUDA graph.

    The kernels and so the gradients are the same. What is saved is the host's launching of a
    thousand kernels, which in batches of one image takes longer than the kernels do.
    """

    step: Step
    _seen: dict[tuple[bool, torch.dtype], int] = field(default_factory=dict)
    _recordings: "dict[tuple[bool, torch.dtype], _Recording]" = field(default_factory=dict)
    _stream: torch.cuda.Stream = field(init=False)
    # recordings follow one another, so what one no longer needs serves the next
    _pool: tuple[int, int] = field(default_factory=torch.cuda.graph_pool_handle)
    _possible: bool = True

    def __post_init__(self) -> None:
        self._stream = torch.cuda.Stream(self.step.device)

    def __call__(self, batch: "Batch") -> Answer:
        """Leave the gradients of `batch`, as `Step` does."""
        with torch.cuda.device(self.step.device):
            return self._do(batch)

    def _do(self, batch: "Batch") -> Answer:
        if len(batch.labels) != self.step.training.batch:
            return self._now(batch)  # the last of an epoch, which may be smaller
        kind = (batch.valid is not None, batch.images.dtype)
        if kind not in self._recordings:
            self._seen[kind] = self._seen.get(kind, 0) + 1
            if not self._possible or self._seen[kind] <= STEPS_BEFORE_RECORDING:
                return self._now(batch)
            with suppress(RuntimeError):
                self._recordings[kind] = _Recording.of(
                    self.step, batch, stream=self._stream, pool=self._pool
                )
            # a recording keeps its memory, so that a step may have room where it has none; whatever
            # else is wrong, the step itself says
            self._possible = kind in self._recordings
            if not self._possible:
                return self._now(batch)
        return self._recordings[kind].replay(batch)

    def _now(self, batch: "Batch") -> Answer:
        """Do it without a recording, on a stream of its own, as recordings ask for."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            answer = self.step(batch)
        here.wait_stream(self._stream)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Recording:
    """A graph, and the memory that it reads and writes each time."""

    graph: torch.cuda.CUDAGraph
    batch: "Batch"
    answer: Answer
    parameters: tuple[nn.Parameter, ...]
    gradients: tuple[Tensor | None, ...]

    @classmethod
    def of(
        cls, step: Step, batch: "Batch", *, stream: torch.cuda.Stream, pool: tuple[int, int]
    ) -> "_Recording":
        own = type(batch)(*(None if each is None else each.clone() for each in batch))
        graph = torch.cuda.CUDAGraph()
        step.network.zero_grad(set_to_none=True)
        # images may be read by another thread meanwhile
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            answer = step(own)
        parameters = tuple(step.network.parameters())
        gradients = tuple(each.grad for each in parameters)
        return cls(
            graph=graph, batch=own, answer=answer, parameters=parameters, gradients=gradients
        )

    def replay(self, batch: "Batch") -> Answer:
        for own, new in zip(self.batch, batch, strict=True):
            if own is not None:
                own.copy_(new)
        self.graph.replay()
        for weights, gradient in zip(self.parameters, self.gradients, strict=True):
            weights.grad = gradient
        return self.answer


def step_of(
    network: nn.Module, targets: Targets, training: Training, group: Processes
) -> Gradients:
    """Return what leaves a batch's gradients in `network`, in the way that suits the device."""
    step = Step(network=network, targets=targets, training=training, device=group.device)
    # with others this process exchanges gradients, which is not recorded
    alone = group.device.type == "cuda" and group.count == 1
    return RecordedStep(step=step) if alone else step


def _volume_error(estimated: Tensor, volumes: Tensor) -> Tensor:
    """Return the squared error of the logarithm of volumes (n,) in mm^3, a mean over all images.

    Images without a crystal add nothing.
    """
    crystal = volumes > 0
    truth = (volumes / VOLUME_UNIT_MM3).where(crystal, torch.ones_like(volumes)).log()
    return ((estimated - truth).square() * crystal).mean()
