"""Labelled images in one HDF5 file, and how to make, check, join and read them.

Layout::

    /images             (N, slow, fast) uint8, one bitshuffle-LZ4 chunk an image
    /label              (N) uint8, index into its attribute `classes`
    /truth/<quantity>   (N), (N, 6) or (N, 3, 3) float64, the physics that made each image
    /splits             attributes <name> = (first, count)
    attribute manifest  JSON: settings, seed, versions, processors, hashes of the content

`store` reads and writes it; `records` and `draft` hold what is made until it is whole; `series`
makes it, `shards` joins it, `proof` checks it; `executors` are where the work is done.
"""

from deepfreak.dataset.draft import draft_path as draft_path
from deepfreak.dataset.executors import AHEAD as AHEAD
from deepfreak.dataset.executors import dask_cluster as dask_cluster
from deepfreak.dataset.executors import worker_processes as worker_processes
from deepfreak.dataset.fresh import stream as stream
from deepfreak.dataset.proof import Proof as Proof
from deepfreak.dataset.proof import verify as verify
from deepfreak.dataset.series import BYTES_PER_PIXEL as BYTES_PER_PIXEL
from deepfreak.dataset.series import generate as generate
from deepfreak.dataset.series import make as make
from deepfreak.dataset.series import part_of as part_of
from deepfreak.dataset.shards import join as join
from deepfreak.dataset.store import Dataset as Dataset
from deepfreak.dataset.store import LabelledImages as LabelledImages
from deepfreak.dataset.store import Layout as Layout
