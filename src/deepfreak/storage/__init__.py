"""Files that survive a kill, each kind of them once.

- `files`: a file written beside its final name, synced and renamed; HDF5 on a full disk.
- `locks`: one writer per file.
- `manifest`: what a file says of itself; another format or version is refused in one line.
- `log`: records appended and synced, resumed behind the last whole one. Drafts of data sets and of
  hit files, journals and ledgers are logs.
- `cache`: what can be made again, by the hash of what it is made from.
"""
