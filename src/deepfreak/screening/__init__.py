"""What is done with a frame: keep, unsure or discard, and why."""
