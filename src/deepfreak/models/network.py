"""A network that runs in onnxruntime: no torch, one file, everything inside.

The file takes images as they are stored and gives calibrated probabilities and an activation map of
each class. `networks.export` makes it. Decision 0014 tells what is checked before a file is used.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError, ModelError
from deepfreak.features.extraction import in_threads
from deepfreak.models.onnx_file import check_onnx
from deepfreak.models.runtime import onnxruntime
from deepfreak.models.vector_model import probe

# onnxruntime has no types.
Session = Any

FORMAT = 1
MAX_FILE_BYTES = 64 * 2**20
MAX_SIDE = 4096
MAX_CLASSES = 256
MAX_MAP_SIDE = 512
# The key of the manifest among the file's metadata.
METADATA = "deepfreak"
PARTS = ("network", "check", "versions")
# By name: element type and, n images standing first, number of dimensions.
INPUTS = {"image": ("tensor(uint8)", 3), "valid": ("tensor(bool)", 3)}
OUTPUTS = {"probabilities": ("tensor(float)", 2), "activation": ("tensor(float)", 4)}
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
        self,
        images: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None = None,
        *,
        workers: int = 1,
    ) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of uint8 images (n, side, side).

        `valid`, bool of the same shape, is true where a pixel measured something. `workers` threads
        share the images; each is computed alone, so that those beside it change nothing.

        Raises
        ------
        FrameError
            Images are of another kind or size.
        """
        images = self._checked(images, valid)

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
        rather than for others, below 0 against it.

        Raises
        ------
        FrameError
            Images are of another kind or size.
        """
        images = self._checked(images, valid)
        found = [
            self.session.run(list(OUTPUTS), self._input(images, valid, index))
            for index in range(len(images))
        ]
        rows, maps = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return _normalised(rows), maps

    def _checked(
        self, images: NDArray[np.uint8], valid: NDArray[np.bool_] | None
    ) -> NDArray[np.uint8]:
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != (self.side, self.side):
            raise FrameError(
                f"expected uint8 images of {self.side} x {self.side} for this network, found "
                f"{images.dtype} {images.shape[1:]}: prepare them"
            )
        if valid is not None and np.shape(valid) != images.shape:
            raise FrameError(
                f"expected valid pixels for images {images.shape}, found {np.shape(valid)}"
            )
        return images

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
    """Return the network that the bytes of a file hold, after every check.

    Raises
    ------
    ModelError
        They are too many, hold something else than a network of DeepFreak, or give other outputs
        than when they were written.
    """
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
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ModelError(
            f"expected a network of format {FORMAT}, found {found!r}: use the version of deepfreak "
            "that made it, or export it again"
        )
    classes, side = manifest.get("classes"), manifest.get("side")
    if (
        not isinstance(classes, list)
        or not all(isinstance(name, str) for name in classes)
        or not 2 <= len(set(classes)) == len(classes) <= MAX_CLASSES
        or not isinstance(side, int)
        or not 1 <= side <= MAX_SIDE
        or not all(isinstance(manifest.get(part), dict) for part in PARTS)
        or not isinstance(manifest["network"].get("architecture"), dict)
        or not isinstance(manifest["network"]["architecture"].get("architecture"), str)
    ):
        raise ModelError("expected a complete manifest, found one without its parts: export again")
    return manifest


def _check_signature(session: Session, *, side: int, classes: int) -> None:
    """Check names, types and shapes of what goes in and what comes out."""
    wanted = {"image": (side, side), "valid": (side, side), "probabilities": (classes,)}
    for named, puts in ((INPUTS, session.get_inputs()), (OUTPUTS, session.get_outputs())):
        found = {put.name: put for put in puts}
        for name, (kind, dimensions) in named.items():
            put = found.get(name)
            if (
                put is None
                or put.type != kind
                or len(put.shape) != dimensions
                or isinstance(put.shape[0], int)
                or tuple(put.shape[1:]) != wanted.get(name, tuple(put.shape[1:]))
            ):
                said = "nothing" if put is None else f"{put.type} {put.shape}"
                raise ModelError(
                    f"expected {name} as {kind} of {dimensions} dimensions for images of "
                    f"{side} x {side} in {classes} classes, found {said}: export it again"
                )
        if extra := found.keys() - named.keys():
            raise ModelError(
                f"expected {', '.join(named)}, found {min(extra)} too: export it again"
            )
    number, *sides = found["activation"].shape[1:]
    if number != classes or not all(
        isinstance(length, int) and 1 <= length <= MAX_MAP_SIDE for length in sides
    ):
        raise ModelError(
            f"expected maps of {classes} classes, at most {MAX_MAP_SIDE} wide and high, found "
            f"{found['activation'].shape}: export it again"
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
