"""The application: the page, the numbers behind it, and verdicts on uploads."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

from deepfreak import __version__
from deepfreak.errors import DeepFreakError
from deepfreak.live.dashboard.event_stream import MAX_CLIENTS, EventStream, SnapshotPublisher
from deepfreak.live.dashboard.security import ANSWER_HEADERS, Guard, Security, refusal
from deepfreak.live.dashboard.upload import RefusedUpload, UploadLimits, read_upload
from deepfreak.live.messages import FramePicture
from deepfreak.live.statistics import ShownHit, Statistics
from deepfreak.live.statistics.shown import MOST
from deepfreak.reports.palette import class_colours
from deepfreak.reports.pictures import picture, tint, white_level

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Asked for by these names only: no name of a request ever becomes a path.
_SCRIPTS = ("theme", "page", "format", "charts", "maps", "hits", "panels")
PARTS = ("page.css", "docs.css", "icon.svg", *(f"{name}.js" for name in _SCRIPTS))


@cache
def part(name: str) -> tuple[bytes, str]:
    """Return a part of the page and its media type."""
    data = files("deepfreak.live.dashboard").joinpath("static", name).read_bytes()
    return data, _TYPES["." + name.rpartition(".")[2]]


def docs_page(schema: Mapping[str, Any]) -> str:
    """Return a page that lists the operations of an OpenAPI `schema`.

    The usual pages for that load their scripts from elsewhere; at a beamline there is no elsewhere.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("deepfreak.live.dashboard", "static"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    operations = [
        {
            "method": method.upper(),
            "path": path,
            "summary": operation.get("summary", ""),
            "description": operation.get("description", ""),
            "parameters": operation.get("parameters", []),
            "bodies": sorted(operation.get("requestBody", {}).get("content", {})),
            "answers": [
                {"status": status, "description": answer.get("description", "")}
                for status, answer in sorted(operation.get("responses", {}).items())
            ],
        }
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    return environment.get_template("docs.html").render(
        title=schema["info"]["title"], version=schema["info"]["version"], operations=operations
    )


# The pictures are small: more circles than these, of the highest peaks, would hide the spots.
_MAX_CIRCLES = 40
_MAX_RINGS = 20


@lru_cache(maxsize=4 * MOST)
def _drawn(shown: FramePicture, *, activation: bool) -> bytes:
    """Return what the model saw, its brightest spots white, or the translucent activation map."""
    if not activation:
        uri = picture(shown.image, shown.valid, white=white_level([shown.image]))
    elif shown.activation is None:
        raise HTTPException(404, "no activation map: the model has none")
    else:
        uri = tint(shown.activation)
    return base64.b64decode(uri.partition(",")[2])


def peaks_to_json(hit: ShownHit) -> dict[str, Any]:
    """Return where the first peaks of a hit are, as parts of the picture's height and width.

    Rings are (slow, fast, radius along slow, radius along fast) in the same parts.
    """
    shown = hit.outcome.picture
    if shown is None:
        return {"peaks": [], "rings": []}
    height, width = shown.image.shape
    return {
        "peaks": [
            [round(slow / height, 4), round(fast / width, 4)]
            for slow, fast in shown.peaks[:_MAX_CIRCLES].tolist()
            if 0 <= slow <= height and 0 <= fast <= width
        ],
        "rings": [
            [round(part, 4) for part in (y / height, x / width, r / height, r / width)]
            for y, x, r in shown.rings[:_MAX_RINGS].tolist()
        ],
    }


MAX_AT_ONCE = 4
_MAX_LINE_LENGTH = 400
# What looks like a path, of any system: readers name the files they stumble over.
_PATH = re.compile(r"(?:[A-Za-z]:|~)?(?:[\\/]+[^\s\\/:;,'\"()]+)+[\\/]?")
_ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"description": "The token is missing or wrong."},
    403: {"description": "The request is of another origin."},
}

Classify = Callable[[bytes, str], dict[str, Any]]


def make_app(
    *,
    statistics: Statistics,
    # gives the text that Prometheus reads, and its media type
    metrics: Callable[[], tuple[bytes, str]],
    # takes a file's bytes and its suffix, such as ".cbf", and gives a verdict as JSON values;
    # `DeepFreakError` where there is none. It is called from up to four threads at a time. None
    # where no files are taken
    classify: Classify | None,
    security: Security,
    upload_limits: UploadLimits | None = None,
) -> FastAPI:
    """Return the server's application."""

    def snapshot(now: float) -> dict[str, Any]:
        return {**statistics.snapshot(now), "colours": class_colours(statistics.classes)}

    publisher = SnapshotPublisher(snapshot)

    @asynccontextmanager
    async def publishing(_: FastAPI) -> AsyncIterator[None]:
        await publisher.publish()
        task = asyncio.create_task(publisher.run())
        yield
        task.cancel()

    app = FastAPI(
        title="DeepFreak live",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=publishing,
        responses=_ANSWERS,
    )
    app.state.publisher = publisher
    app.add_middleware(Guard, security=security)
    _add_errors(app)
    _add_pages(app)
    _add_numbers(app, publisher, metrics)
    _add_hits(app, statistics)
    if classify is not None:
        _add_classify(app, classify, upload_limits or UploadLimits())
    return app


def _add_errors(app: FastAPI) -> None:
    """Answer every error in one line of JSON."""

    async def on_http(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, StarletteHTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else "nothing here"
        return refusal(status, detail if status != 405 else "another method is expected here")

    async def on_refused(_: Request, error: Exception) -> Response:
        if not isinstance(error, RefusedUpload):
            return refusal(500, "an error on our side")
        answer = refusal(error.status, error.line)
        answer.headers["Connection"] = "close"  # what is still being sent is not read
        return answer

    async def on_invalid(_: Request, __: Exception) -> Response:
        return refusal(422, "expected other parameters: see /docs")

    async def on_fault(_: Request, __: Exception) -> Response:
        answer = refusal(500, "an error on our side: the program's log says more")
        # this one does not come by the guard, and the server closes the connection after it
        answer.headers.update({**ANSWER_HEADERS, "Connection": "close"})
        return answer

    app.add_exception_handler(StarletteHTTPException, on_http)
    app.add_exception_handler(RefusedUpload, on_refused)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(Exception, on_fault)


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(part("page.html")[0])

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in PARTS:
            raise HTTPException(404, "nothing here")
        data, media_type = part(name)
        return Response(data, media_type=media_type)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))


def _add_numbers(
    app: FastAPI, publisher: SnapshotPublisher, metrics: Callable[[], tuple[bytes, str]]
) -> None:
    @app.get("/snapshot", summary="The run as it was at most a second ago")
    async def snapshot() -> Response:
        """All that the page shows, as one JSON object: rates as parts of 1, times in s or ms."""
        return Response(publisher.text, media_type="application/json")

    @app.get("/events", summary="The same, pushed once a second")
    async def events() -> Response:
        """Server-sent events; the data of each is what /snapshot answers."""
        if publisher.clients >= MAX_CLIENTS:
            raise HTTPException(503, f"expected at most {MAX_CLIENTS} pages, found more")
        return EventStream(publisher)

    @app.get("/metrics", summary="Counters for Prometheus")
    async def prometheus() -> Response:
        """Text in the exposition format of Prometheus."""
        text, media_type = await run_in_threadpool(metrics)
        return Response(text, headers={"Content-Type": media_type})

    @app.get("/healthz", summary="Whether the server answers")
    async def healthz() -> dict[str, str]:
        """Needs no token and tells nothing else."""
        return {"status": "ok"}


def _add_hits(app: FastAPI, statistics: Statistics) -> None:
    def found(text: str) -> ShownHit:
        """Return the hit of this number; only digits are a number."""
        if text.isascii() and text.isdecimal() and len(text) <= 18:
            for hit in statistics.hits():
                if hit.id == int(text) and hit.outcome.picture is not None:
                    return hit
        raise HTTPException(404, "expected a hit of the latest: this one is not kept")

    def png(hit: ShownHit, *, activation: bool) -> Response:
        # a hit never changes, and its number is never given to another
        headers = {"Cache-Control": "private, max-age=3600, immutable"}
        data = _drawn(hit.outcome.picture, activation=activation)
        return Response(data, media_type="image/png", headers=headers)

    @app.get("/hits/{hit}.png", summary="What the model saw of a hit")
    def hit_picture(hit: str) -> Response:
        """PNG, at most 256 pixels wide and high; the brightest of those shown together."""
        return png(found(hit), activation=False)

    @app.get("/hits/{hit}/activation.png", summary="Activation map of a hit")
    def hit_activation(hit: str) -> Response:
        """Translucent PNG to lay over the picture."""
        return png(found(hit), activation=True)

    @app.get("/hits/{hit}/peaks", summary="Where the peaks of a hit are")
    def hit_peaks(hit: str) -> dict[str, Any]:
        """Peaks as (slow, fast), rings as (slow, fast, radii), parts of the picture's sides."""
        return peaks_to_json(found(hit))


def _add_classify(app: FastAPI, classify: Classify, limits: UploadLimits) -> None:
    at_work = 0
    binary = {"schema": {"type": "string", "format": "binary"}}

    @app.post(
        "/classify",
        summary="The verdict on an image file",
        responses={
            400: {"description": "No file, or not an image."},
            415: {"description": "A form: send the file as the body."},
            408: {"description": "The file came too slowly."},
            413: {"description": f"The file is larger than {limits.max_bytes >> 20} MiB."},
            503: {"description": f"{MAX_AT_ONCE} files are being classified: try again."},
        },
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/octet-stream": binary}},
            "parameters": [
                {
                    "name": "name",
                    "in": "query",
                    "description": "The file's name, for its suffix.",
                    "schema": {"type": "string"},
                }
            ],
        },
    )
    async def classify_file(request: Request) -> Response:
        """Send the file as the body; answers label, probabilities, p_crystal, decision, reasons and
        signs.
        """  # noqa: D205 - shown as it is
        nonlocal at_work
        if at_work >= MAX_AT_ONCE:
            busy = refusal(503, f"{MAX_AT_ONCE} files are being classified: try again")
            busy.headers.update({"Retry-After": "1", "Connection": "close"})
            return busy
        at_work += 1
        try:
            upload = await read_upload(request, limits)
            verdict = await run_in_threadpool(classify, upload.data, upload.suffix)
        except DeepFreakError as error:
            return refusal(400, without_paths(str(error)))
        finally:
            at_work -= 1
        return JSONResponse(verdict)


def without_paths(message: str) -> str:
    """Return one line without whatever looks like the path of a file."""
    line = " ".join(message.split())
    return _PATH.sub("the file", line)[:_MAX_LINE_LENGTH]
