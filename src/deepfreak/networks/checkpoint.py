"""Weights in safetensors files, with their manifest as JSON in the file's header.

Weights and manifest are written in one atomic write, so that they cannot disagree. Nothing in such
a file is code.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from deepfreak.errors import ModelError, RecipeError
from deepfreak.networks.architecture import architecture_from
from deepfreak.networks.configuration import Inputs
from deepfreak.networks.network import NetworkModel, build_network, fingerprint
from deepfreak.storage.files import whole_file

FORMAT = 1
HEADER = "deepfreak"
CHECKSUM = "sha256"
# Of one network; the largest of the paper's has 98 MB.
MAX_FILE_BYTES = 2**30
MAX_SIDE = 4096
MAX_CLASSES = 256


def save_checkpoint(
    path: Path,
    *,
    networks: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    record: Mapping[str, Any],
) -> None:
    """Write networks, optimizer and a record of JSON; `OutputError` leaves the former file."""
    tensors = {
        f"{name}.{key}": value
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:  # SGD without momentum has none
                tensors[f"optimizer.{index}.{key}"] = value
    whole = {"format": FORMAT, **record}
    whole[CHECKSUM] = _checksum(tensors, whole)
    _write(path, tensors, whole, left="the last checkpoint is still there")


def read_record(path: Path) -> dict[str, Any]:
    """Return the JSON of a checkpoint; `ModelError` if a byte is damaged or the version another."""
    with _opened(path) as (record, file):
        if record.pop(CHECKSUM, None) != _checksum(_tensors(file), record):
            raise ModelError(
                f"{path}: expected the checksum in the file, found another: it is damaged; remove "
                "it to train from the start"
            )
        return record


def restore(
    path: Path, *, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> None:
    """Load a checkpoint into what was built as it was then; `ModelError` if weights do not fit."""
    with _opened(path) as (_, file):
        tensors = _tensors(file)
    for name, network in networks.items():
        own_tensors = _below(name, tensors)
        try:
            _check_shapes(network, own_tensors)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        network.load_state_dict(own_tensors)
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [weights for group in optimizer.param_groups for weights in group["params"]]
    for name, value in _below("optimizer", tensors).items():
        index, key = name.split(".")
        weights = parameters[int(index)]
        # in the memory layout of its weights, as the optimizer itself would have made it
        own = torch.empty_like(weights) if value.shape == weights.shape else value
        state.setdefault(int(index), {})[key] = own.copy_(value)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def save_network(model: NetworkModel, path: str | Path) -> None:
    """Write weights and manifest to `path`, in place of what was there, or raise `OutputError`."""
    _write(Path(path), model.network.state_dict(), model.manifest, left="nothing was left behind")


def load_network(path: str | Path, *, device: str = "cpu") -> NetworkModel:
    """Return the network in a file; `ModelError` if it is missing, damaged, or does not fit."""
    path = Path(path)
    with _opened(path) as (manifest, file):
        tensors = _tensors(file)
    try:
        classes, side = tuple(manifest["classes"]), int(manifest["side"])
        inputs = TypeAdapter(Inputs).validate_python(manifest["inputs"])
        architecture = architecture_from(manifest["architecture"])
        _check_size(side, classes)
        # no weights are made before the file is known to have them
        with torch.device("meta"):
            network = build_network(architecture, inputs, classes=len(classes), side=side)
        _check_shapes(network, tensors)
    except (ModelError, RecipeError, ValidationError, KeyError, TypeError, ValueError) as error:
        found = " ".join(str(error).split())[:300]
        raise ModelError(f"{path}: expected a network of this version, found {found}") from error
    network.to_empty(device=device)
    network.load_state_dict(tensors)
    model = NetworkModel(network=network.eval(), side=side, classes=classes, manifest=manifest)
    if fingerprint(network) != manifest.get("weights_sha256"):
        raise ModelError(f"{path}: its weights are not those that its manifest names")
    return model


def _write(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any], left: str) -> None:
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(record, allow_nan=False)
    content = save(contiguous, metadata={HEADER: text})
    with whole_file(path, overwrite=True, left=left) as partial:
        partial.write_bytes(content)


def _checksum(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> str:
    """Return a SHA-256 over the JSON, and over names, kinds and values of all tensors."""
    digest = hashlib.sha256(json.dumps(record, allow_nan=False).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"\0{name} {value.dtype} {tuple(value.shape)}\0".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield the JSON of a file and the open file."""
    if not path.is_file():
        raise ModelError(f"expected a file of weights, found no {path}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ModelError(f"{path}: expected at most {MAX_FILE_BYTES >> 20} MB of weights")
    try:
        with safetensors.safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {})[HEADER])
            if not isinstance(record, dict) or record.get("format") != FORMAT:
                raise ModelError(
                    f"{path}: expected weights of format {FORMAT}, found another; train it again"
                )
            yield record, file
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: expected weights and their JSON, found {error}") from error


def _tensors(file: Any) -> dict[str, Tensor]:  # noqa: ANN401 -- safetensors has no types
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no mapping


def _check_size(side: int, classes: tuple[str, ...]) -> None:
    if not (0 < side <= MAX_SIDE and 2 <= len(set(classes)) == len(classes) <= MAX_CLASSES):
        raise ModelError(f"images of {side} x {side} in {len(classes)} classes")


def _below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `name`, without it before their own names."""
    start = f"{name}."
    return {
        key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)
    }


def _check_shapes(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    for name, own in network.state_dict().items():
        found = tensors.get(name)
        if found is None or found.shape != own.shape or found.dtype != own.dtype:
            said = "nothing" if found is None else f"{found.dtype} {tuple(found.shape)}"
            raise ModelError(f"{said} for {name}, expected {own.dtype} {tuple(own.shape)}")
    if extra := set(tensors) - set(network.state_dict()):
        raise ModelError(f"weights {min(extra)}, which the network does not have")
