"""What the base installation leaves out: which extra brings a package, and how to install it."""

from importlib.util import find_spec

from deepfreak.errors import BackendError

# The modules of each extra of pyproject.toml.
MODULES = {
    "live": (
        "cbor2", "fastapi", "msgpack", "prometheus_client", "psutil", "uvicorn",
        "zmq",
    ),
    "search": ("cv2", "optuna", "sklearn"),
    "networks": ("torch", "safetensors", "onnx", "onnxruntime"),
    "gpu": ("torch", "numba_cuda"),
    "dask": ("distributed",),
}  # fmt: skip


def require(extra: str, *modules: str) -> None:
    """Raise `BackendError` if a module of an extra is missing, by default any; import none."""
    for module in modules or MODULES[extra]:
        if find_spec(module) is None:
            raise BackendError(missing(module, extra))


def extra_of(module: str | None) -> str | None:
    """Return the extra that brings a module, None for those of the base."""
    root = (module or "").partition(".")[0]
    return next((extra for extra, modules in MODULES.items() if root in modules), None)


def missing(module: str, extra: str) -> str:
    """Return in one line what is missing and how to install it."""
    return (
        f"{module} is not installed, which the extra {extra!r} brings: in a checkout of deepfreak, "
        f"pip install '.[{extra}]'"
    )
