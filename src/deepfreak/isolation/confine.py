"""Prevents a process from opening files named by untrusted data, after all checks of the data.

With Landlock (Linux 5.13 and later) no library can read or write anything outside the given
directories; elsewhere at least files opened by Python itself are refused.
"""

import ctypes
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # numbers of system calls
_NO_NEW_PRIVILEGES = 38  # of prctl
_PATH_BENEATH = 1  # a kind of rule
_WRITE, _READ, _READ_FOLDER = 1 << 1, 1 << 2, 1 << 3
_INSTALLED = {"site-packages", "dist-packages"}
_SYSTEM = ("/usr", "/lib", "/lib64", "/dev/null", "/dev/urandom", "/etc/ld.so.cache")


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def confine(*folders: str) -> bool:
    """Restrict this process to files in `folders`, and to installed programs and libraries.

    Return whether the kernel enforces it.
    """
    allowed = [os.path.realpath(folder) for folder in (*folders, *_libraries())]

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(args[0], (str, bytes, os.PathLike)):
            return
        path = os.path.realpath(os.fsdecode(args[0]))
        if not any(path == folder or path.startswith(f"{folder}/") for folder in allowed):
            raise PermissionError("a file named by the data")

    sys.addaudithook(refuse)
    return _by_landlock(allowed)


def _libraries() -> list[str]:
    """Return the directories of Python, libraries and compiled code."""
    own = Path(__file__).parents[1]
    caches = [Path.home() / ".cache" / name for name in ("deepfreak", "numba")]
    # not all of `sys.path`: that may contain the working directory
    installed = [path for path in sys.path if Path(path).name in _INSTALLED]
    named = [os.environ.get("NUMBA_CACHE_DIR", ""), *installed, *sysconfig.get_paths().values()]
    known = [sys.prefix, sys.base_prefix, str(own), *map(str, caches), *named, *_SYSTEM]
    return [path for path in known if path and path != "/"]


def _by_landlock(allowed: list[str]) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    handled = ctypes.c_uint64(_WRITE | _READ | _READ_FOLDER)
    try:
        rules = libc.syscall(_CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    except AttributeError:  # a system without `syscall`
        return False
    if rules < 0:
        return False
    try:
        for path in allowed:
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            access = handled.value if Path(path).is_dir() else _WRITE | _READ
            rule = _PathBeneath(access, place)
            libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0)
            os.close(place)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return bool(libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)
