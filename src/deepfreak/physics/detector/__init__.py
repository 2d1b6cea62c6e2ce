"""The detector: where each pixel is, what stands before it, and what it makes of photons."""

from deepfreak.physics.detector.detector import CCD as CCD
from deepfreak.physics.detector.detector import BadPixels as BadPixels
from deepfreak.physics.detector.detector import Detector as Detector
from deepfreak.physics.detector.detector import PhotonCounting as PhotonCounting
from deepfreak.physics.detector.detector import Response as Response
from deepfreak.physics.detector.maps import beam_factors as beam_factors
from deepfreak.physics.detector.maps import calibration_map as calibration_map
from deepfreak.physics.detector.maps import gaps as gaps
from deepfreak.physics.detector.maps import hot_pixels as hot_pixels
from deepfreak.physics.detector.maps import largest_sin_theta as largest_sin_theta
from deepfreak.physics.detector.maps import missing_pixels as missing_pixels
from deepfreak.physics.detector.maps import polarization_factor as polarization_factor
from deepfreak.physics.detector.maps import sensitivity_map as sensitivity_map
from deepfreak.physics.detector.maps import sin_theta as sin_theta
from deepfreak.physics.detector.maps import solid_angle as solid_angle
from deepfreak.physics.detector.maps import (
    solid_angle_and_polarization as solid_angle_and_polarization,
)
from deepfreak.physics.detector.maps import transmission_map as transmission_map
from deepfreak.physics.detector.obstacles import Bar as Bar
from deepfreak.physics.detector.obstacles import Beamstop as Beamstop
from deepfreak.physics.detector.obstacles import HalfPlane as HalfPlane
from deepfreak.physics.detector.obstacles import Obstacle as Obstacle
from deepfreak.physics.detector.obstacles import Shadow as Shadow
from deepfreak.physics.detector.panel import Modules as Modules
from deepfreak.physics.detector.panel import Panel as Panel
from deepfreak.physics.detector.panel import PlacedPanel as PlacedPanel
