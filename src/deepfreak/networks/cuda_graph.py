"""A training step as a CUDA graph: captured once, then replayed without the host."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from deepfreak.networks.batches import Batch

# Takes a batch, leaves its gradients in the parameters, returns its mean loss () and the number of
# its images classified correctly ().
Step = Callable[[Batch], tuple[Tensor, Tensor]]

# The libraries choose and load their kernels in the first steps, which a capture must not see.
WARM_UP_STEPS = 3


@dataclass(slots=True, kw_only=True, eq=False)
class CudaGraphStep:
    """A `step` of `network` whose work for whole batches is given to a GPU as one CUDA graph.

    The kernels and so the gradients are the same. What is saved is the host's launching of a
    thousand kernels, which in batches of one image takes longer than the kernels do.
    """

    step: Step
    network: nn.Module
    batch: int
    device: torch.device
    _steps: dict[tuple[bool, torch.dtype], int] = field(default_factory=dict)
    _captured: "dict[tuple[bool, torch.dtype], _Captured]" = field(default_factory=dict)
    _stream: torch.cuda.Stream = field(init=False)
    # graphs are replayed one after the other, so they share their memory
    _pool: Any = field(default_factory=torch.cuda.graph_pool_handle)
    _possible: bool = True

    def __post_init__(self) -> None:
        self._stream = torch.cuda.Stream(self.device)

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Leave the gradients of `batch`, as `step` does."""
        with torch.cuda.device(self.device):
            if len(batch.labels) != self.batch:
                return self._run(batch)  # the last of an epoch, which may be smaller
            kind = (batch.valid is not None, batch.images.dtype)
            if kind not in self._captured:
                self._steps[kind] = self._steps.get(kind, 0) + 1
                if not self._possible or self._steps[kind] <= WARM_UP_STEPS:
                    return self._run(batch)
                with suppress(RuntimeError):
                    self._captured[kind] = self._capture(batch)
                # a graph keeps its memory, so that a step may have room where it has none; any
                # other problem the step itself reports
                self._possible = kind in self._captured
                if not self._possible:
                    return self._run(batch)
            return self._captured[kind].replay(batch)

    def _run(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run the step without a graph, on a stream of its own, as captures need it."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            found = self.step(batch)
        here.wait_stream(self._stream)
        return found

    def _capture(self, batch: Batch) -> "_Captured":
        images, labels, volumes, valid = batch
        own = Batch(
            images.clone(),
            labels.clone(),
            volumes.clone(),
            None if valid is None else valid.clone(),
        )
        graph = torch.cuda.CUDAGraph()
        self.network.zero_grad(set_to_none=True)
        # images may be read by another thread meanwhile
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            found = self.step(own)
        gradients = [(weights, weights.grad) for weights in self.network.parameters()]
        return _Captured(graph, own, found, gradients)


class _Captured(NamedTuple):
    """A graph, and the memory that it reads and writes each time."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    found: tuple[Tensor, Tensor]
    gradients: list[tuple[nn.Parameter, Tensor | None]]

    def replay(self, batch: Batch) -> tuple[Tensor, Tensor]:
        for own, new in zip(self.batch, batch, strict=True):
            if own is not None and new is not None:
                own.copy_(new)
        self.graph.replay()
        for weights, gradient in self.gradients:
            weights.grad = gradient
        return self.found
