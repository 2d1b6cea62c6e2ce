"""Data sets that come from elsewhere and go elsewhere: the published DiffraNet's folders.

`archive` reads a zip or a folder, `importing` turns the layout into our HDF5 files, `exporting`
writes it from them, `labelled` writes files of labelled images that were not simulated here.
"""

from deepfreak.datasets.diffranet.exporting import export_diffranet
from deepfreak.datasets.diffranet.importing import Imported, import_diffranet

__all__ = ["Imported", "export_diffranet", "import_diffranet"]
