"""Data sets that come from elsewhere and go elsewhere: the published DiffraNet's folders.

`archive` reads a zip or a folder, `folders` turns the layout into our HDF5 files and back,
`labelled` writes files of labelled images that were not simulated here.
"""

from deepfreak.datasets.diffranet.folders import Imported, export_diffranet, import_diffranet

__all__ = ["Imported", "export_diffranet", "import_diffranet"]
