"""The paper's experiments made again: each table beside the published figures, from one command.

`paper` holds what was published; `classical` makes the tables of the forests and SVMs; `record`
writes tables down with the command, the versions and the hardware that made them.
"""
