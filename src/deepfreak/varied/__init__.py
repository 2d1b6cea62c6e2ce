"""Varied images: any crystal on any detector, with diffraction and without.

`experiment` draws all that makes an image from physics, `light` adds what other matter sends as
shapes, `shot` makes one image of both, and `series` a file of them.
"""

from deepfreak.varied.experiment import varied_experiment as varied_experiment
from deepfreak.varied.series import generate_varied as generate_varied
from deepfreak.varied.shot import varied_image as varied_image
