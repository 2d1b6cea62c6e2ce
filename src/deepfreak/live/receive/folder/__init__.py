"""Frames that arrive as files: found, inspected, identified, published; decoded in a worker."""
