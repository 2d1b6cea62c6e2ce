"""An image file sent to be classified: read with limits that hold while it is read."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

MAX_BYTES = 64 << 20
# Beside the file: boundaries, part headers, other fields.
_MAX_AROUND = 64 << 10
_MAX_PART_HEADER = 4096
_MAX_PARTS = 10
READ_S = 60.0
CHUNK_S = 10.0

_SUFFIX = re.compile(r"\.[a-z0-9]{1,12}")
_SUFFIX_OF_TYPE = {
    "image/png": ".png",
    "image/tiff": ".tif",
    "image/x-portable-graymap": ".pgm",
    "image/x-cbf": ".cbf",
    "chemical/x-cbf": ".cbf",
    "application/x-cbf": ".cbf",
    "application/x-hdf5": ".h5",
    "application/x-hdf": ".h5",
    "application/vnd.hdf5": ".h5",
}


class RefusedUpload(Exception):  # noqa: N818 - an answer, not a fault
    """What was sent is not taken: a status of HTTP and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The bytes of a file, and the suffix of its name, such as ".cbf"; empty where unknown."""

    data: bytes = field(repr=False)
    suffix: str


async def read_upload(request: Request) -> Upload:
    """Return the file in a request: its body, or the first file of a multipart form.

    Raises
    ------
    RefusedUpload
        Too large, too slow, empty, or a form that is damaged or holds no file.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    length = request.headers.get("content-length", "")
    in_form = kind == b"multipart/form-data"
    most = MAX_BYTES + (_MAX_AROUND if in_form else 0)
    if length.isascii() and length.isdecimal() and (len(length) > 12 or int(length) > most):
        raise _too_large()
    if in_form:
        upload = await _read_form(request, options.get(b"boundary", b""), most)
    else:
        body = bytearray()
        async for chunk in _chunks(request, most):
            body += chunk
        upload = Upload(data=bytes(body), suffix=_SUFFIX_OF_TYPE.get(kind.decode("latin-1"), ""))
    if not upload.data:
        raise RefusedUpload(400, "expected an image file, found nothing")
    named = request.query_params.get("name", "")
    return Upload(data=upload.data, suffix=suffix_of(named) or upload.suffix)


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case; empty where it is none to be trusted."""
    suffix = PurePosixPath(PureWindowsPath(name).name).suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""


async def _chunks(request: Request, most: int) -> AsyncIterator[bytes]:
    """Yield a body as it comes, no more than `most` bytes and not for ever."""
    size = 0
    stream = request.stream()
    try:
        async with asyncio.timeout(READ_S):
            while True:
                async with asyncio.timeout(CHUNK_S):
                    chunk = await anext(stream, None)
                if chunk is None:
                    return
                size += len(chunk)
                if size > most:
                    raise _too_large()
                yield chunk
    except TimeoutError:
        raise RefusedUpload(
            408, f"expected the file within {READ_S:g} s and without pauses, found it too slow"
        ) from None
    except ClientDisconnect:
        raise RefusedUpload(400, "expected a whole file, found the connection closed") from None


async def _read_form(request: Request, boundary: bytes, most: int) -> Upload:
    """Return the first file of a form, parsed as it comes; what is beside it is forgotten."""
    if not boundary or len(boundary) > 70:  # RFC 2046
        raise RefusedUpload(400, "expected a multipart form with a boundary")
    form = _Form(boundary)
    try:
        async for chunk in _chunks(request, most):
            form.parser.write(chunk)
        form.parser.finalize()
    except FormParserError:
        raise RefusedUpload(400, "expected a multipart form, found a damaged one") from None
    if form.suffix is None or not form.whole:
        raise RefusedUpload(400, "expected a form with a file in it, found none")
    return Upload(data=bytes(form.data), suffix=form.suffix)


class _Form:
    """Keeps the first part of a form that is a file, and none of the others."""

    def __init__(self, boundary: bytes) -> None:
        self.data = bytearray()
        self.suffix: str | None = None
        self.whole = False
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._parts = 0
        self._inside = False
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header(
                    self._name, data[start:end]
                ),
                "on_header_value": lambda data, start, end: self._header(
                    self._value, data[start:end]
                ),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._take,
                "on_part_end": self._end,
            },
        )

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise RefusedUpload(400, f"expected at most {_MAX_PARTS} fields in a form, found more")
        self._headers = {}

    def _header(self, target: bytearray, text: bytes) -> None:
        target += text
        if len(target) > _MAX_PART_HEADER:
            raise RefusedUpload(400, "expected a form with short headers, found a long one")

    def _header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if self.suffix is not None or b"filename" not in options:
            return
        kind, _ = parse_options_header(self._headers.get(b"content-type", b""))
        self.suffix = suffix_of(options[b"filename"].decode("utf-8", "replace"))
        self.suffix = self.suffix or _SUFFIX_OF_TYPE.get(kind.decode("latin-1"), "")
        self._inside = True

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self.data += data[start:end]
            if len(self.data) > MAX_BYTES:
                raise _too_large()

    def _end(self) -> None:
        self.whole = self.whole or self._inside
        self._inside = False


def _too_large() -> RefusedUpload:
    return RefusedUpload(
        413, f"expected a file of at most {MAX_BYTES >> 20} MiB, found a larger one"
    )
