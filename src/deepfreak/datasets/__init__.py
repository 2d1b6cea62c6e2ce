"""Data sets: labelled images in one HDF5 file, and how to generate, verify, join and read them.

Layout::

    /images             (N, slow, fast) uint8, one bitshuffle-LZ4 chunk an image
    /label              (N) uint8, index into its attribute `classes`
    /truth/<quantity>   (N), (N, 6) or (N, 3, 3) float64, the physics that made each image
    /splits             attributes <name> = (first, count)
    attribute manifest  JSON: settings, seed, versions, processors, hashes of the content

`file` reads and writes data sets; `generating` simulates them, record by record (`records`),
resumes after an interruption and joins shards; `verifying` compares a data set with its manifest
and with the released one. `executors` distribute the work over processes or a cluster.
"""

from deepfreak.datasets.executors import AHEAD as AHEAD
from deepfreak.datasets.executors import dask_cluster as dask_cluster
from deepfreak.datasets.executors import worker_processes as worker_processes
from deepfreak.datasets.file import Dataset as Dataset
from deepfreak.datasets.file import LabelledImages as LabelledImages
from deepfreak.datasets.file import Layout as Layout
from deepfreak.datasets.generating import BYTES_PER_PIXEL as BYTES_PER_PIXEL
from deepfreak.datasets.generating import generate as generate
from deepfreak.datasets.generating import join as join
from deepfreak.datasets.generating import part_of as part_of
from deepfreak.datasets.in_memory import stream as stream
from deepfreak.datasets.verifying import Verification as Verification
from deepfreak.datasets.verifying import verify as verify
from deepfreak.storage.draft import draft_path as draft_path
