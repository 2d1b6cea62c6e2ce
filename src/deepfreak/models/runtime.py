"""onnxruntime without its telemetry; no other module imports it.

Official builds report to Microsoft and keep a device number in `~/.cache/Microsoft`. They read the
environment once, while they are imported, and child processes inherit it.
"""

import os
from typing import Any


def onnxruntime() -> Any:  # noqa: ANN401 -- the module, which has no types
    """Return the module `onnxruntime` with its telemetry off."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as runtime

    # In case it was imported before; builds for some systems lack the function.
    getattr(runtime, "disable_telemetry_events", lambda: None)()
    return runtime
