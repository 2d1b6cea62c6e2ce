"""Where batches come from: stored images, on the device if they fit, or endless fresh shots.

`batch` is what a step is given, and `order` which images a step shows. `stored` has the images of a
data set, `mixed` further ones beside them of which only the group is known, and `fresh` simulates
shots when they are needed; `source` chooses between the three.
"""
