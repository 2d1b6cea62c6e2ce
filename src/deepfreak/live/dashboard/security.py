"""Who may ask the server what: tokens, names of hosts, and where a request comes from.

A page of another origin in the same browser is the usual attacker of a server on loopback: it can
make the browser send requests here (refused by `Origin` and `Sec-Fetch-Site`) or give its own
name our address (DNS rebinding; refused by `Host`). From outside, only the token counts.
"""

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepfreak.errors import InputError

LOOPBACK_NAMES = ("localhost",)
MIN_TOKEN = 16
MAX_HEADER_BYTES = 16 << 10
_COOKIE_DAYS = 7
_SAFE_METHODS = frozenset({"GET", "HEAD"})

ANSWER_HEADERS = {
    # No inline script or style, nothing from elsewhere; text can become markup nowhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What a request must show."""

    # without it nothing is answered but `/healthz`; None on loopback, where none is needed
    token: str | None = None
    # names by which the server may be called. An address in digits always may: a name is what
    # rebinding needs
    allowed_hosts: tuple[str, ...] = LOOPBACK_NAMES

    def knows_host(self, header: str) -> bool:
        """Return whether `header`, of the form name:port, names this server."""
        name = _host_of(header)
        if name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in {host.lower().rstrip(".") for host in self.allowed_hosts}
        return True

    def accepts(self, token: str) -> bool:
        """Return whether this is the token; how long that takes tells nothing of it."""
        return self.token is None or hmac.compare_digest(_digest(token), _digest(self.token))

    def accepts_cookie(self, value: str) -> bool:
        """Return whether a cookie was set by this server for its token."""
        return self.token is None or hmac.compare_digest(
            value.encode("utf-8", "replace"), self.cookie().encode()
        )

    def cookie(self) -> str:
        """Return what the cookie holds: not the token, but what only its owner can make."""
        return hmac.new(_digest(self.token or ""), b"deepfreak dashboard", "sha256").hexdigest()


def security_for(host: str, token: str | None, names: Sequence[str] = ()) -> Security:
    """Return the rules of a server bound to `host`, which may also be called by `names`."""
    check_binding(host, token)
    own = () if _is_loopback(host) else (host, socket.gethostname())
    return Security(token=token, allowed_hosts=(*LOOPBACK_NAMES, *own, *names))


def check_binding(host: str, token: str | None) -> None:
    """Raise `InputError` unless `host` is a loopback address or there is a good token."""
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii()):
        raise InputError(
            f"expected a token of at least {MIN_TOKEN} ASCII characters, found {len(token)}: "
            "let the program make one"
        )
    if token is None and not _is_loopback(host):
        raise InputError(
            f"expected a token for a server on {host!r}, which others can reach, found none: "
            "give one, or serve on 127.0.0.1"
        )


class Guard:
    """Lets requests through to `app` that show what `security` asks; adds headers to all answers.

    A visit of `/?token=...` with the token sets a cookie and redirects to `/`, so that the token
    stays neither in the address bar nor in bookmarks.
    """

    def __init__(self, app: ASGIApp, security: Security) -> None:
        self.app = app
        self.security = security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse in one line of JSON."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ANSWER_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        refused = self._misplaced(scope, headers) or self._unknown(scope, headers)
        answer: ASGIApp = refused or self.app
        await answer(scope, receive, send_with_headers)

    def _misplaced(self, scope: Scope, headers: Headers) -> Response | None:
        """Refuse what is not meant for this server or does not come from its page."""
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
            return refusal(431, f"expected at most {MAX_HEADER_BYTES} bytes of headers, found more")
        if not self.security.knows_host(headers.get("host", "")):
            return refusal(421, "expected a Host header that names this server")
        if not _from_here(scope, headers):
            return refusal(403, "expected a request from this server's own page")
        return None

    def _unknown(self, scope: Scope, headers: Headers) -> Response | None:
        """Refuse requests without the token."""
        if self.security.token is None or scope["path"] == "/healthz":
            return None
        cookie_name = _cookie_name(scope)
        offered = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and scope["method"] == "GET" and offered:
            return self._welcome(scope, offered)
        if self._has_token(headers, cookie_name):
            return None
        answer = refusal(
            401, "expected the token: open the address with ?token=..., or send it as Bearer"
        )
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    def _welcome(self, scope: Scope, offered: str) -> Response:
        if not self.security.accepts(offered):
            return refusal(401, "expected the token, found another: was the program restarted?")
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            _cookie_name(scope),
            self.security.cookie(),
            max_age=_COOKIE_DAYS * 86400,
            httponly=True,
            secure=scope["scheme"] == "https",
            # a link in a message must lead to the page: "strict" would leave the cookie out
            samesite="lax",
        )
        return answer

    def _has_token(self, headers: Headers, cookie_name: str) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.security.accepts(token.strip()):
            return True
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return cookie_name in cookies and self.security.accepts_cookie(cookies[cookie_name].value)


def refusal(status: int, line: str) -> Response:
    """Return an error in one line of JSON."""
    return JSONResponse({"error": line}, status_code=status)


def _from_here(scope: Scope, headers: Headers) -> bool:
    """Return whether a request is of our own page, or of no page at all.

    Following a link to the page is allowed; to load parts of it into another page is not.
    """
    site = headers.get("sec-fetch-site", "none")
    safe = scope["method"] in _SAFE_METHODS
    followed = safe and headers.get("sec-fetch-mode") == "navigate"
    if site not in {"same-origin", "none"} and not followed:
        return False
    origin = headers.get("origin")
    return origin is None or origin == f"{scope['scheme']}://{headers.get('host', '')}"


def _cookie_name(scope: Scope) -> str:
    """Return a name of its own for each port: a browser's cookies know hosts only."""
    port = (scope.get("server") or ("", 0))[1]
    return f"deepfreak-{port}"


def _host_of(header: str) -> str | None:
    """Return the name in a Host header in lower case, without port and brackets; None: none."""
    name, port = header, ""
    if header.startswith("["):
        name, closed, rest = header[1:].partition("]")
        if not closed:
            return None
        port = rest.removeprefix(":")
    elif ":" in header:
        name, _, port = header.rpartition(":")
    if not name or (port and not (port.isascii() and port.isdecimal())):
        return None
    return name.lower().rstrip(".")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(text: str) -> bytes:
    """Return bytes of one length, whatever that of `text` is."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
