"""A network that runs in onnxruntime: no torch, one file, everything inside.

The file takes images as they are stored and gives calibrated probabilities and an activation map of
each class. `networks.export` makes it. Decision 0014 tells what is checked before a file is used.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError
from deepfreak.features.extraction import in_threads
from deepfreak.models.archive import are_classes, check_format
from deepfreak.models.classifier import check_images
from deepfreak.models.onnx_file import check_onnx
from deepfreak.models.vector_model import probe


def onnxruntime() -> Any:  # noqa: ANN401 -- the module, which has no types
    """Return the module `onnxruntime` with its telemetry off; nothing else imports it.

    Official builds report to Microsoft and keep a device number in `~/.cache/Microsoft`. They read
    the environment once, while they are imported, and child processes inherit it.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as runtime

    # In case it was imported before; builds for some systems lack the function.
    getattr(runtime, "disable_telemetry_events", lambda: None)()
    return runtime


# onnxruntime has no types.
Session = Any

FORMAT, VERSION = "deepfreak-network", 1
MAX_FILE_BYTES = 64 * 2**20
MAX_SIDE = 4096
MAX_MAP_SIDE = 512
# The key of the manifest among the file's metadata.
METADATA = "deepfreak"
PARTS = ("network", "check", "versions")
INPUTS, OUTPUTS = ("image", "valid"), ("probabilities", "activation")
# Sums are not taken in the same order everywhere: what answers may differ by.
PROBABILITY_TOLERANCE = 1e-4
ACTIVATION_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxModel:
    """A network in a file of ONNX; a `Classifier` with activation maps.

    `manifest` holds JSON values only: that of the training as "network", calibration, versions, and
    the outputs by which a loaded file is checked. `sha256` is that of the file.
    """

    classes: tuple[str, ...]
    side: int
    manifest: Mapping[str, Any] = field(repr=False)
    sha256: str
    session: Session = field(repr=False)

    @property
    def name(self) -> str:
        """Kind and fingerprint, for logs."""
        return (
            f"{self.manifest['network']['architecture']['architecture']} network {self.sha256[:8]}"
        )

    def probabilities(
        self, images: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None, *, workers: int = 1
    ) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of images (n, side, side); see `Classifier`.

        `workers` threads share the images; each is computed alone, so that those beside it change
        nothing.
        """
        images = check_images(images, valid, side=self.side)

        def run(index: int) -> NDArray[np.float32]:
            inputs = self._input(images, valid, index)
            row: NDArray[np.float32] = self.session.run(["probabilities"], inputs)[0][0]
            return row

        rows = list(in_threads(run, range(len(images)), workers=workers))
        return _normalised(np.array(rows).reshape(len(images), len(self.classes)))

    def look(
        self, images: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return the probabilities (n, classes) and the activation maps (n, classes, h, w).

        A class's map covers the image in h x w parts; above 0 a part is evidence for the class
        rather than for others, below 0 against it. Raises `FrameError` if images are of another
        kind or size.
        """
        images = check_images(images, valid, side=self.side)
        found = [
            self.session.run(OUTPUTS, self._input(images, valid, index))
            for index in range(len(images))
        ]
        rows, maps = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return _normalised(rows), maps

    def _input(
        self, images: NDArray[np.uint8], valid: NDArray[np.bool_] | None, index: int
    ) -> dict[str, NDArray[Any]]:
        """Return one image as the file's inputs."""
        image = images[index : index + 1]
        measured = (
            np.ones(image.shape, np.bool_)
            if valid is None
            else np.asarray(valid[index : index + 1], np.bool_)
        )
        return {"image": image, "valid": measured}


def network_from(content: bytes, *, max_bytes: int = MAX_FILE_BYTES) -> OnnxModel:
    """Return the network in a file's bytes, after every check, or raise `ModelError`."""
    if len(content) > max_bytes:
        raise ModelError(
            f"expected a network of at most {max_bytes >> 20} MB, found {len(content) >> 20} MB: "
            "use one with fewer filters"
        )
    check_onnx(content)
    session = _session(content)
    manifest = _manifest(session)
    classes, side = tuple(manifest["classes"]), manifest["side"]
    _check_signature(session, side=side, classes=len(classes))
    model = OnnxModel(
        classes=classes,
        side=side,
        manifest=manifest,
        sha256=hashlib.sha256(content).hexdigest(),
        session=session,
    )
    _check_outputs(model)
    return model


def probes(side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return three images (3, side, side) and their valid pixels, to record and compare outputs.

    Drawn by code: as `vector_model.probe`, a faint one, and one with a corner that is not valid.
    """
    drawn = probe()
    tiles = -(-side // drawn.shape[0])
    whole = np.tile(drawn, (tiles, tiles))[:side, :side]
    images = np.stack([whole, np.rot90(whole) // 2, whole])
    valid = np.ones(images.shape, np.bool_)
    valid[2, : side // 2, : side // 3] = False
    images[2][~valid[2]] = 255
    return images, valid


def outputs(
    probabilities: NDArray[np.floating[Any]], maps: NDArray[np.floating[Any]]
) -> dict[str, Any]:
    """Return what a manifest records: probabilities, and mean and maximum of every map."""
    return {
        "probabilities": np.asarray(probabilities, np.float64).tolist(),
        "activation": _mean_and_maximum(maps).tolist(),
    }


def _mean_and_maximum(maps: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return (n, classes, 2) of maps (n, classes, h, w)."""
    summary: NDArray[np.float64] = np.stack(
        [maps.mean((2, 3), dtype=np.float64), maps.max((2, 3))], axis=-1
    )
    return summary


def _session(content: bytes) -> Session:
    """Return a session that computes on the calling thread."""
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # 4: nothing but what is raised anyway
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(
            content,
            sess_options=options,
            providers=["CPUExecutionProvider"],
            # else it would print to stdout that it tries the same again
            enable_fallback=0,
        )
    except Exception as error:  # the runtime raises a dozen kinds on what it cannot build
        raise ModelError(
            f"expected a network that onnxruntime {runtime.__version__} can run, found one "
            f"that it refuses ({' '.join(str(error).split())[:200]}): export it again"
        ) from error


def _manifest(session: Session) -> Mapping[str, Any]:
    """Return the file's manifest if it has the parts that are relied on."""
    try:
        manifest = json.loads(session.get_modelmeta().custom_metadata_map.get(METADATA, "null"))
    except (ValueError, RecursionError) as error:
        raise ModelError("expected a manifest of JSON in this network, found other text") from error
    check_format(manifest, FORMAT, VERSION)
    side = manifest.get("side")
    if (
        not are_classes(manifest.get("classes"))
        or not isinstance(side, int)
        or not 1 <= side <= MAX_SIDE
        or not all(isinstance(manifest.get(part), dict) for part in PARTS)
        or not isinstance(manifest["network"].get("architecture"), dict)
        or not isinstance(manifest["network"]["architecture"].get("architecture"), str)
    ):
        raise ModelError("expected a complete manifest, found one without its parts: export again")
    found: Mapping[str, Any] = manifest
    return found


def _check_signature(session: Session, *, side: int, classes: int) -> None:
    """Check names, types and shapes of inputs and outputs."""
    found = {
        put.name: (put.type, *("n" if isinstance(size, str) else size for size in put.shape))
        for put in (*session.get_inputs(), *session.get_outputs())
    }
    sides = found.get("activation", ())[3:]
    if not all(isinstance(size, int) and 1 <= size <= MAX_MAP_SIDE for size in sides):
        raise ModelError(f"expected maps of at most {MAX_MAP_SIDE} a side, found {sides}")
    expected = {
        "image": ("tensor(uint8)", "n", side, side),
        "valid": ("tensor(bool)", "n", side, side),
        "probabilities": ("tensor(float)", "n", classes),
        "activation": ("tensor(float)", "n", classes, *(sides if len(sides) == 2 else "hw")),
    }
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise ModelError(
                f"expected {name} as {expected.get(name)} for images of {side} x {side} in "
                f"{classes} classes, found {found.get(name)}: export it again"
            )


def _check_outputs(model: OnnxModel) -> None:
    """Raise `ModelError` unless the outputs for `probes` are those that the manifest records."""
    check, shape = model.manifest["check"], (3, len(model.classes))
    try:
        recorded = np.asarray(check["probabilities"], np.float64).reshape(shape)
        summary = np.asarray(check["activation"], np.float64).reshape(*shape, 2)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"expected recorded outputs in {len(model.classes)} classes, found others: export again"
        ) from error
    try:
        rows, maps = model.look(*probes(model.side))
    except Exception as error:  # the runtime raises a dozen kinds when it cannot compute
        raise ModelError(
            f"expected outputs, found an error ({' '.join(str(error).split())[:200]}): export it "
            "again"
        ) from error
    scale = max(1.0, float(np.abs(summary).max()))
    # written so that what is not a number is not alike
    alike = (
        np.abs(rows - recorded).max() <= PROBABILITY_TOLERANCE
        and np.abs(_mean_and_maximum(maps) - summary).max() <= ACTIVATION_TOLERANCE * scale
    )
    if not alike:
        made_with = model.manifest["versions"].get("onnxruntime", "unknown")
        raise ModelError(
            f"expected the recorded outputs with onnxruntime {onnxruntime().__version__}, found "
            f"others (made with {made_with}): export it again"
        )


def _normalised(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities that add up to 1 in double precision."""
    wide = rows.astype(np.float64)
    probabilities: NDArray[np.float64] = wide / wide.sum(axis=1, keepdims=True)
    return probabilities
