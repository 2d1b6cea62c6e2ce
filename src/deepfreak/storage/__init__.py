"""Files that survive a killed process, a full disk and a power failure.

- `files`: atomic writes; HDF5 files, also on a full disk.
- `locks`: one writer per file.
- `manifest`: format, version and settings in a file; a file of another version is refused.
- `log`: append logs, resumed after the last complete record.
- `draft`: a log beside a file under construction.
- `chunks`: HDF5 chunks compressed in memory.
- `cache`: keyed caches of results that can be recomputed.
"""
