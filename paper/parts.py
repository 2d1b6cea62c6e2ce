"""Weights in several small files, in half precision, and as one file again.

Where files must stay below some size, a network of 94 MB travels as parts of 16 MB: safetensors of
float16, of which the first has the manifest in its header. The network whose manifest they hold is
the one with rounded weights, which is also the one to judge.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepfreak.errors import ModelError
from deepfreak.storage.files import whole_file

if TYPE_CHECKING:
    from torch import Tensor

    from deepfreak.networks import NetworkModel

MAX_PART_BYTES = 16_000_000
# A header names each tensor with its type, shape and place.
BYTES_PER_NAME = 200
HEADER = "deepfreak"


def rounded(model: "NetworkModel") -> "NetworkModel":
    """Return the network with each weight, and the mean of pixels, rounded to float16.

    The running means and variances of its normalisations stay as they are: they are few, and a
    rounding of them is felt everywhere.
    """
    import torch

    from deepfreak.networks.checkpoint import fingerprint

    network, halved = copy.deepcopy(model.network), _halved(model)
    with torch.no_grad():
        for key, weights in network.state_dict().items():
            if key in halved:
                weights.copy_(weights.half().float())
    manifest = {
        **model.manifest,
        "rounded": "float16",
        "weights_sha256": fingerprint(network),
    }
    return replace(model, network=network, manifest=manifest)


def write_parts(
    model: "NetworkModel", folder: Path, name: str, *, most_bytes: int = MAX_PART_BYTES
) -> tuple[Path, ...]:
    """Write a `rounded` network to `folder`/`name`-1-of-n.safetensors and so on.

    Raises
    ------
    ValueError
        A tensor alone is larger than a part may be, or the network is not rounded.
    OutputError
        A part cannot be written.
    """
    from safetensors.torch import save

    if model.manifest.get("rounded") != "float16":
        raise ValueError("expected a network whose weights are rounded; use `rounded` first")
    halved = _halved(model)
    tensors = {
        key: (value.half() if key in halved else value).cpu().contiguous()
        for key, value in model.network.state_dict().items()
    }
    parts = _packed(tensors, most_bytes - len(json.dumps(dict(model.manifest))))
    paths = []
    for number, part in enumerate(parts, start=1):
        path = folder / f"{name}-{number}-of-{len(parts)}.safetensors"
        record = {"part": [number, len(parts)], "manifest": dict(model.manifest)}
        content = save(part, metadata={HEADER: json.dumps(record)})
        with whole_file(path, overwrite=True) as partial:
            partial.write_bytes(content)
        paths.append(path)
    return tuple(paths)


def join_parts(paths: Sequence[Path], out: Path) -> None:
    """Write the network in `paths` to one file, which `load_network` reads.

    Raises
    ------
    ModelError
        The parts are not those of one network, or one is missing or damaged.
    OutputError
        `out` exists, or cannot be written.
    """
    import safetensors
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    manifests, numbers = [], []
    for path in paths:
        try:
            with safetensors.safe_open(path, "pt") as file:
                record = json.loads((file.metadata() or {})[HEADER])
                manifests.append(record["manifest"])
                numbers.append(record["part"])
                for key in file.keys():  # noqa: SIM118 -- no mapping
                    value = file.get_tensor(key)
                    tensors[key] = value.float() if value.is_floating_point() else value
        except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{path}: expected a part of a network, found {error}") from error
    count = len(paths)
    if sorted(numbers) != [[number, count] for number in range(1, count + 1)] or any(
        manifest != manifests[0] for manifest in manifests
    ):
        raise ModelError(
            f"expected all parts of one network, found {', '.join(path.name for path in paths)}: "
            "name each of them once"
        )
    content = save(tensors, metadata={HEADER: json.dumps(manifests[0])})
    with whole_file(out, overwrite=False) as partial:
        partial.write_bytes(content)


def _halved(model: "NetworkModel") -> set[str]:
    """Return the names of the tensors that are kept in half precision."""
    return {"mean", *(key for key, _ in model.network.named_parameters())}


def _packed(tensors: Mapping[str, "Tensor"], most_bytes: int) -> list[dict[str, "Tensor"]]:
    """Return the tensors in as few parts as first-fit needs, the largest tensors first."""
    sizes = {key: value.numel() * value.element_size() for key, value in tensors.items()}
    parts: list[dict[str, Tensor]] = []
    filled: list[int] = []
    for key in sorted(sizes, key=lambda key: (-sizes[key], key)):
        size = sizes[key] + BYTES_PER_NAME
        if size > most_bytes:
            raise ValueError(
                f"{key} alone takes {size} bytes, more than the {most_bytes} of a part"
            )
        place = next((i for i, full in enumerate(filled) if full + size <= most_bytes), len(parts))
        if place == len(parts):
            parts.append({})
            filled.append(0)
        parts[place][key] = tensors[key]
        filled[place] += size
    return parts
