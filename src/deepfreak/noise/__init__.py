"""From expected photons to what the detector reports, stage by stage."""

from deepfreak.detector import calibration_map as calibration_map
from deepfreak.noise.chain import detect as detect
from deepfreak.noise.chain import read_out as read_out
from deepfreak.noise.chain import to_8_bits as to_8_bits
from deepfreak.noise.counting import count_with_dead_time as count_with_dead_time
from deepfreak.noise.point_spread import point_spread as point_spread
from deepfreak.noise.point_spread import point_spread_kernel as point_spread_kernel
