"""The colours of pages, plots and pictures."""

# Mid tones, legible on light and on dark; the order is that of the classes.
CLASS_COLOURS = ("#8b929c", "#5a8fd8", "#d9a21b", "#3aa675", "#c8557a", "#8d6fd1", "#5fa8b0")
NO_CRYSTAL_COLOUR, CRYSTAL_COLOUR = CLASS_COLOURS[1], CLASS_COLOURS[3]
BAR_COLOUR = "#3f7fb5"
# Of one frame: what is missing for each reason, the beam, peaks, and peaks on rings.
REASON_COLOURS = (
    *("#d95f02", "#1f78b4", "#7570b3", "#e7298a", "#66a61e", "#a6761d", "#666666", "#1b9e77"),
)
BEAM_COLOUR, PEAK_COLOUR, PEAK_ON_RING_COLOUR = "#e31a1c", "#00e5ff", "#ffd54f"

# Red, green and blue of pixels
MISSING_RGB = (52, 74, 128)
SHADOW_RGB = (200, 62, 90)
WINDOW_RGB = (255, 196, 0)
RING_RGB, LABEL_RGB, BEAM_RGB = (64, 190, 214), (150, 232, 250), (240, 96, 72)
OBSTACLE_RGB = (72, 44, 16)
# Green: neither the circles' orange nor the blue of missing pixels.
ACTIVATION_RGB = (40, 220, 150)


def class_colours(classes: tuple[str, ...]) -> dict[str, str]:
    """Return a colour for each class, by its place."""
    return {name: CLASS_COLOURS[i % len(CLASS_COLOURS)] for i, name in enumerate(classes)}


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of a colour such as #d95f02."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue
