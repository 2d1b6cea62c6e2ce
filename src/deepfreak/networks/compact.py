"""DeepFreak's own network: physics in the first step, few weights after it (`docs/compact.md`)."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from deepfreak.errors import RecipeError
from deepfreak.settings import settings, to_json

if TYPE_CHECKING:
    from deepfreak.networks.compact_network import CompactNetwork

# The bounds keep a network that a file describes from asking for all the memory there is.
Width = Annotated[int, Field(ge=1, le=512)]


@settings
class Compact:
    """A small convolutional network over the light of each block of pixels above the background.

    Parameters
    ----------
    widths
        Channels of the 3 x 3 convolutions. The first one works on blocks of 4 x 4 pixels, each
        further one at half the resolution of the one before; of these the means are taken.
    hidden
        Units between the means over the image and the classes.
    """

    name: ClassVar[str] = "compact"

    widths: Annotated[tuple[Width, ...], Field(max_length=6)] = (8, 16, 32, 64)
    hidden: Width = 64

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON values, the name under `architecture`."""
        return {"architecture": self.name, **to_json(self)}

    def build(self, *, classes: int = 5, size: int = 512) -> "CompactNetwork":
        """Return the network; see `compact_network`.

        Raises
        ------
        RecipeError
            Images cannot be divided into blocks, again at each convolution.
        """
        from deepfreak.networks.compact_network import CompactNetwork
        from deepfreak.networks.spot_planes import BLOCK_PX

        multiple = BLOCK_PX << max(len(self.widths) - 1, 0)
        if size % multiple:
            raise RecipeError(
                f"expected images whose side is a multiple of {multiple} for a compact network of "
                f"{len(self.widths)} convolutions, found {size}: use fewer, or prepare the images"
            )
        return CompactNetwork(widths=self.widths, hidden=self.hidden, classes=classes)
