"""Where batches come from: `stored` images of data sets, or endless `fresh` shots."""

from collections.abc import Sequence

from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.networks.batches.fresh import Fresh, FreshShots
from deepfreak.networks.batches.stored import StoredImages
from deepfreak.networks.processes import Processes

Source = StoredImages | FreshShots


def source_of(
    data: Dataset | Fresh, processes: Processes, *, also: Sequence[Dataset] = ()
) -> Source:
    """Return where batches come from: those of `data`, mixed with further images if there are any.

    Raises
    ------
    DatasetError
        Images are not square or of one size, groups cannot be formed, or fresh shots are to be
        mixed with stored images.
    """
    if not isinstance(data, Fresh):
        return StoredImages(data, processes, also=also)
    if also:
        raise DatasetError(
            "expected stored images to mix with further ones, found fresh shots: leave one out"
        )
    return FreshShots(data, processes)
