"""onnxruntime, without its telemetry: the only place that imports it.

Official builds report to Microsoft and keep a device number in `~/.cache/Microsoft`. They read the
environment once, while they are imported, and child processes inherit it.
"""

import os
from typing import Any


def onnxruntime() -> Any:  # noqa: ANN401 -- the module, which has no types
    """Return the module `onnxruntime` with its telemetry off."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as runtime

    # where somebody imported it before us; builds for some systems do not have it
    getattr(runtime, "disable_telemetry_events", lambda: None)()
    return runtime
