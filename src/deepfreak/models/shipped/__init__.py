"""The models that ship with the package, by name."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

# `default` screens frames by their evidence; `diffranet` classifies prepared images.
SHIPPED = {"default": "default.evidence", "diffranet": "diffranet.model"}


def is_shipped(model: str | Path | None) -> bool:
    """Return whether this names a shipped model; None names the default."""
    return model is None or str(model) in SHIPPED


def model_file(model: str | Path | None = None, suffix: str = "") -> Traversable:
    """Return the file of a model, or with a `suffix` a file beside it.

    A name of `SHIPPED` precedes a file of this name in the working directory; give such a file by
    its full path. None is the default.
    """
    if not is_shipped(model):
        return Path(f"{model}{suffix}")
    folder = resources.files("deepfreak.models") / "shipped"
    return folder / f"{SHIPPED[str(model or 'default')]}{suffix}"
