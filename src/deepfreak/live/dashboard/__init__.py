"""What people see of a run: one page, and the same as JSON."""

from deepfreak.live.dashboard.app import make_app
from deepfreak.live.dashboard.security import Security, check_binding, security_for
from deepfreak.live.dashboard.server import ServerHandle, serve

__all__ = ["Security", "ServerHandle", "check_binding", "make_app", "security_for", "serve"]
