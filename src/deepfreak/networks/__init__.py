"""Networks: the paper's family of ResNet-50s, DeepFreak's own, and the loop that trains them.

Settings, without torch: `architecture` (Tables 1 and 9) and `configuration` (how a network is
trained; Tables 2, 11, 15, 17). Layers: `resnet`, `compact_network`. Training: `training` holds the
loop, with `batches`, `augmentation`, `targets`, `cuda_graph`, `processes` and `state`. Results:
`network`, its files (`checkpoint`, `export`), `calibration` and `figures`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deepfreak.errors import BackendError
from deepfreak.extras import MODULES, missing
from deepfreak.networks.architecture import (
    DEEPFREAK,
    TOPOLOGIES,
    Architecture,
    Compact,
    Cost,
    Topology,
    architecture_from,
    cost,
    multiply_adds,
)
from deepfreak.networks.configuration import (
    CONFIGURATION_A,
    CONFIGURATION_B,
    CONFIGURATION_C,
    FOR_PREPROCESSED_IMAGES,
    FOR_RAW_IMAGES,
    OURS,
    Augmentation,
    Configuration,
    Inputs,
    Training,
)

if TYPE_CHECKING:
    from deepfreak.networks.batches import Fresh
    from deepfreak.networks.checkpoint import load_network, save_network
    from deepfreak.networks.network import NetworkModel
    from deepfreak.networks.training import Trained, train_network

__all__ = [
    "CONFIGURATION_A", "CONFIGURATION_B", "CONFIGURATION_C", "DEEPFREAK", "FOR_PREPROCESSED_IMAGES",
    "FOR_RAW_IMAGES", "OURS", "TOPOLOGIES", "Architecture", "Augmentation", "Compact",
    "Configuration", "Cost", "Fresh", "Inputs", "NetworkModel", "Topology", "Trained", "Training",
    "architecture_from", "cost", "load_network", "multiply_adds", "save_network", "train_network",
]  # fmt: skip

# These need torch, which takes seconds to import and may be missing.
_NEED_TORCH = {
    "Fresh": "batches",
    "NetworkModel": "network",
    "Trained": "training",
    "load_network": "checkpoint",
    "save_network": "checkpoint",
    "train_network": "training",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- a module's attributes have any type
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_NEED_TORCH[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name not in MODULES["networks"]:
            raise
        raise BackendError(missing(error.name, "networks")) from error
