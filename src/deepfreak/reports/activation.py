"""Where a model looked, as a translucent layer over a picture."""

import base64
import io

import numpy as np
from numpy.typing import NDArray

# Green: neither the circles' orange nor the blue of missing pixels.
COLOUR = (40, 220, 150)
# Of 255; the image has to be seen through it.
MAX_OPAQUE = 130


def tint(activation: NDArray[np.float32]) -> str:
    """Return what spoke for a verdict, [slow, fast], as a PNG data URI.

    One pixel for each of its parts, to be stretched smoothly over the image: the more opaque, the
    more it spoke for the verdict, relative to the part that did most. Where it spoke against,
    and everywhere if nothing spoke for it, the layer is transparent.
    """
    from PIL import Image

    favour = np.maximum(activation, 0)
    most = favour.max(initial=0)
    layer = np.empty((*activation.shape, 4), np.uint8)
    layer[..., :3] = COLOUR
    layer[..., 3] = np.rint(MAX_OPAQUE * (favour / most if most > 0 else favour))
    buffer = io.BytesIO()
    Image.fromarray(layer).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
