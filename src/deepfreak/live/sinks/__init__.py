"""Outputs that other programs read: each takes every outcome, or every frame to save.

`json_lines` and `crystfel_list` are files that grow by whole lines; `hit_files` copies the frames
to keep and the unsure ones, `crystfel_zmq` sends them to CrystFEL.
"""
