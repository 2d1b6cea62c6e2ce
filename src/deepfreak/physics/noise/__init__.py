"""From expected photons to what the detector reports, stage by stage."""

from deepfreak.physics.detector import calibration_map as calibration_map
from deepfreak.physics.noise.chain import detect as detect
from deepfreak.physics.noise.chain import read_out as read_out
from deepfreak.physics.noise.counting import count_with_dead_time as count_with_dead_time
from deepfreak.physics.noise.point_spread import point_spread as point_spread
from deepfreak.physics.noise.point_spread import point_spread_kernel as point_spread_kernel
