"""The physics of a shot, from the beam to the counts of the detector."""
