"""What people see of a run: one page, and the same as JSON."""

from deepfreak.live.web.app import make_app
from deepfreak.live.web.security import Security, check_binding, security_for
from deepfreak.live.web.server import ServerHandle, serve

__all__ = ["Security", "ServerHandle", "check_binding", "make_app", "security_for", "serve"]
