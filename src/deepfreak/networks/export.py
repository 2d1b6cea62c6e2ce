"""Exporting a network as one ONNX file: preprocessing, calibration, probabilities, maps."""

import copy
import json
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, interpolate, pad

from deepfreak.errors import ModelError, OutputError
from deepfreak.extras import require
from deepfreak.models.onnx_model import (
    FORMAT,
    INPUTS,
    MAX_FILE_BYTES,
    METADATA,
    OUTPUTS,
    VERSION,
    OnnxModel,
    network_from,
    outputs,
    probes,
)
from deepfreak.models.svm import softmax
from deepfreak.networks.calibration import Calibration
from deepfreak.networks.network import Network, NetworkModel
from deepfreak.storage.files import check_output, versions, whole_file

# The last version of operators that torch's exporter by tracing knows.
OPSET = 18


def export_onnx(
    model: NetworkModel,
    path: str | Path,
    *,
    calibration: Calibration | None = None,
    overwrite: bool = False,
    max_bytes: int = MAX_FILE_BYTES,
) -> OnnxModel:
    """Write `model` as ONNX to `path`, and return what `load_model` reads from there.

    The file is read again, and has to give torch's outputs, before it gets its name. Its
    probabilities are those of `model`, after `calibration` where there is one. Raises `OutputError`
    if the file exists and `overwrite` is false, cannot be written, or would be too large;
    `ModelError` if the network has no activation maps, or onnxruntime gives other outputs;
    `BackendError` if the package onnx is missing.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    temperature = 1.0 if calibration is None else calibration.temperature
    served = Served(model.network, side=model.side, temperature=temperature).eval()
    images, valid = (torch.from_numpy(drawn) for drawn in probes(model.side))
    device = model.network.mean.device
    with torch.inference_mode():
        _, maps = served(images, valid)
        # the outputs to compare with are those of the very network that was trained
        logits = model.network(images.to(device), valid.to(device)).double().cpu().numpy()
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "classes": list(model.classes),
        "side": model.side,
        "network": dict(model.manifest),
        "calibration": None if calibration is None else calibration.to_json(),
        "versions": versions("torch", "onnx", "onnxruntime", "numpy"),
        "check": outputs(softmax(logits / temperature), maps.numpy()),
    }
    content = _onnx(served, manifest, maps_shape=tuple(maps.shape))
    if len(content) > max_bytes:
        raise OutputError(
            f"{path} would have {len(content) >> 20} MB, more than the {max_bytes >> 20} MB that "
            "can be read again; use fewer filters"
        )
    try:
        loaded = network_from(content)
    except ModelError as error:
        raise ModelError(f"{path} was not written: {error}") from error
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(content)
    return loaded


class Served(nn.Module):
    """The graph of the file: stored images (n, side, side) to probabilities and maps.

    The maps (n, classes, h, w) are what each part of the image adds to the logit of each class,
    less the mean over classes, which cancels in the softmax (Zhou et al. 2016).
    """

    def __init__(self, network: Network, *, side: int, temperature: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().eval()
        self.temperature = temperature
        body = with_maps(self.network.body, size=self.network.shrink_to or side)
        if self.network.shrink_to is not None:
            # ONNX as traced has no shrinking that averages; two products of matrices are the same
            body = nn.Sequential(Shrink(side, self.network.shrink_to), body)
            self.network.shrink_to = None
        self.network.body = body

    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (n, classes) and maps (n, classes, h, w)."""
        logits, maps = self.network(image, valid)
        return (logits / self.temperature).softmax(1), maps - maps.mean(1, keepdim=True)


def with_maps(body: nn.Module, *, size: int) -> nn.Module:
    """Return `body`, for inputs (n, ..., size, size), as a module that gives (logits, maps)."""
    if hasattr(body, "maps"):
        return _Maps(body)
    if isinstance(body, nn.Sequential) and len(body) > 3:
        *convolutions, pool, flat, linear = body
        if (
            isinstance(pool, nn.AvgPool2d)
            and isinstance(flat, nn.Flatten)
            and isinstance(linear, nn.Linear)
        ):
            return Attributed(nn.Sequential(*convolutions), pool, linear, size=size)
    raise ModelError(
        "expected a network with a method `maps`, or that ends in a pool of means and a linear "
        f"layer, found {type(body).__name__}: give it such a method"
    )


class _Maps(nn.Module):
    """A body whose method `maps` is the forward pass."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        forward: Any = self.body.maps
        found: tuple[Tensor, Tensor] = forward(maps)
        return found


class Attributed(nn.Module):
    """A body of the paper's family, with what each place of its last maps adds to each logit.

    Pool and linear layer are linear together: a class has one weight for each channel and place,
    and a map's sum is the class's logit less its bias.
    """

    weights: Tensor

    def __init__(
        self, convolutions: nn.Sequential, pool: nn.AvgPool2d, linear: nn.Linear, *, size: int
    ) -> None:
        super().__init__()
        self.convolutions, self.pool, self.linear = convolutions, pool, linear
        with torch.inference_mode():
            shape = convolutions(torch.zeros(1, 1, size, size)).shape
        self.register_buffer("weights", _before_pool(linear, pool, shape[1:]))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and maps (n, classes, h, w) of (n, 1, size, size)."""
        last = self.convolutions(maps)  # (n, channels, h, w)
        logits = self.linear(self.pool(last).flatten(1))
        return logits, (last[:, None] * self.weights).sum(2)


def _before_pool(linear: nn.Linear, pool: nn.AvgPool2d, shape: torch.Size) -> Tensor:
    """Return the linear layer's weights (classes, channels, h, w) for maps before the pool."""
    channels, *sides = shape
    window, stride = pool.kernel_size, pool.stride
    if not (isinstance(window, int) and isinstance(stride, int)):
        raise ModelError("expected a last pool with square windows, found another")
    pooled = [(side - window) // stride + 1 for side in sides]
    classes = linear.out_features
    own = linear.weight.detach().reshape(classes * channels, 1, *pooled)
    mean = torch.full((1, 1, window, window), window**-2)
    spread = conv_transpose2d(own, mean, stride=stride)
    # what no whole window fits into at the ends does not count
    left = [side - reached for side, reached in zip(sides, spread.shape[2:], strict=True)]
    return pad(spread, (0, left[1], 0, left[0])).reshape(classes, channels, *sides)


class Shrink(nn.Module):
    """`interpolate` with antialias, as two products of matrices."""

    matrix: Tensor

    def __init__(self, side: int, shrink_to: int) -> None:
        super().__init__()
        # each row of the unit matrix, shrunk: the matrix that shrinks any image's rows
        rows = interpolate(
            torch.eye(side)[None, None], (shrink_to, side), mode="bilinear", antialias=True
        )
        self.register_buffer("matrix", rows[0, 0])  # (shrink_to, side)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (n, channels, shrink_to, shrink_to) of (n, channels, side, side)."""
        return self.matrix @ maps @ self.matrix.T


def _onnx(served: Served, manifest: Mapping[str, Any], *, maps_shape: tuple[int, ...]) -> bytes:
    """Return the bytes of the file."""
    require("networks", "onnx")
    import onnx

    side = manifest["side"]
    # two images: traced with one, the network would take one image only
    example = (
        torch.zeros(2, side, side, dtype=torch.uint8),
        torch.ones(2, side, side, dtype=torch.bool),
    )
    buffer: Any = BytesIO()  # torch's types do not know that the exporter by tracing takes one
    with warnings.catch_warnings(), torch.inference_mode():
        # warnings of its age (the newer exporter needs another package) and of what tracing may
        # miss, which the comparison of outputs would find
        warnings.simplefilter("ignore")
        torch.onnx.export(
            served,
            example,
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_axes={name: {0: "n"} for name in (*INPUTS, *OUTPUTS)},
        )
    graph = onnx.load_model_from_string(buffer.getvalue())
    shapes = {"probabilities": (len(manifest["classes"]),), "activation": maps_shape[1:]}
    for put in graph.graph.output:
        # tracing does not always know that these do not change with n
        for dimension, length in zip(
            put.type.tensor_type.shape.dim[1:], shapes[put.name], strict=True
        ):
            dimension.dim_value = length
    graph.metadata_props.add(key=METADATA, value=json.dumps(manifest, allow_nan=False))
    content: bytes = graph.SerializeToString(deterministic=True)
    return content
