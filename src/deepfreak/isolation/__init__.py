"""Limited processes: functions that read files from elsewhere run in a separate process.

`LimitedProcess` starts the process, calls functions in it, and stops it when it exceeds a limit of
time or memory. Results are plain values and arrays (`values`), never pickled objects.
"""

from deepfreak.isolation.process import LimitedProcess, Limits

__all__ = ["LimitedProcess", "Limits"]
