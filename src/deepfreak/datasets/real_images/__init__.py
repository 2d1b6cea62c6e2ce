"""Detector frames made into DiffraNet's two variants of real images (section 3 of the paper).

`crop` gathers frames taken alike and finds one window for each; `labels` reads
labels and splits the frames; `real_set` writes the variants.
"""
