"""The number of processors that this process may use, often fewer than the machine has."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

# The most that options for workers accept; more are of no use on one machine.
MAX_WORKERS = 512


def usable_processors(root: Path = Path("/")) -> int:
    """Return the number of processors that this process may use, 1 to `MAX_WORKERS`.

    The minimum of its CPU affinity (`taskset`, `srun -c`), the quotas of its control groups
    (`docker --cpus`, Kubernetes, systemd's CPUQuota), rounded up, and the machine's processors.

    Parameters
    ----------
    root
        Directory that has /proc and /sys.
    """
    counts = [os.cpu_count() or 1, MAX_WORKERS]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    counts += [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min(counts))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of this process's control groups and their parents, in processors."""
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup/cpu"]
        else:
            continue
        inner = Path(group.lstrip("/"))
        # in a container the group's name may be the host's; its root exists in any case
        for mount in mounts:
            for folder in (mount / inner, *((mount / above) for above in inner.parents)):
                quota = _quota(folder)
                if quota is not None:
                    yield quota


def _quota(folder: Path) -> float | None:
    """Return the quota of a control group, version 2 or 1, None if it has none."""
    words = (_text(folder / "cpu.max") or "").split()
    if not words:
        words = [_text(folder / name) or "" for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        quota, period = (float(word) for word in words)
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None
