"""Functions that handle files from outside, run in a process of their own with limits.

`LimitedProcess` starts the process, asks it, and stops it when it takes too long or too much
memory; what it answers are plain values and arrays (`values`), never pickled objects.
"""

from deepfreak.isolation.process import LimitedProcess, Limits

__all__ = ["LimitedProcess", "Limits"]
