"""Live screening: frames from a source, a verdict on each while the sample is still there."""
