"""Labelled images in one HDF5 file, and how to make, check, join and read them.

Layout::

    /images             (N, slow, fast) uint8, one bitshuffle-LZ4 chunk an image
    /label              (N) uint8, index into its attribute `classes`
    /truth/<quantity>   (N), (N, 6) or (N, 3, 3) float64, the physics that made each image
    /splits             attributes <name> = (first, count)
    attribute manifest  JSON: settings, seed, versions, processors, hashes of the content

`store` reads and writes it; `series` makes it of `records`, `resuming` after an interruption;
`shards` joins it, `proof` checks it; `executors` are where the work is done.
"""

from deepfreak.datasets.executors import AHEAD as AHEAD
from deepfreak.datasets.executors import dask_cluster as dask_cluster
from deepfreak.datasets.executors import worker_processes as worker_processes
from deepfreak.datasets.fresh import stream as stream
from deepfreak.datasets.proof import Proof as Proof
from deepfreak.datasets.proof import verify as verify
from deepfreak.datasets.series import BYTES_PER_PIXEL as BYTES_PER_PIXEL
from deepfreak.datasets.series import generate as generate
from deepfreak.datasets.series import part_of as part_of
from deepfreak.datasets.shards import join as join
from deepfreak.datasets.store import Dataset as Dataset
from deepfreak.datasets.store import LabelledImages as LabelledImages
from deepfreak.datasets.store import Layout as Layout
from deepfreak.storage.draft import draft_path as draft_path
