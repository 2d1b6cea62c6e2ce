"""Outputs that other programs read: each takes every outcome, or every frame to save.

`records` and `crystfel_list` are files that grow by whole lines, `metrics` is a page for
Prometheus; `hit_files` copies the frames to keep and the unsure ones, `crystfel_zmq` sends
them to CrystFEL.
"""
