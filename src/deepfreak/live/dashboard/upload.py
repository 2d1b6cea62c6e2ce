"""An image file sent to be classified: read with limits that hold while it is read."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath

from starlette.requests import ClientDisconnect, Request

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


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """How large an upload may be, how long it and a pause in it may take."""

    max_bytes: int = 64 << 20
    read_s: float = 60.0
    pause_s: float = 10.0


class RefusedUpload(Exception):  # noqa: N818 - an answer, not a fault
    """An upload is rejected with an HTTP status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The bytes of a file, and the suffix of its name, such as ".cbf"; empty where unknown."""

    data: bytes = field(repr=False)
    suffix: str


async def read_upload(request: Request, limits: UploadLimits) -> Upload:
    """Return the file that is the body of a request.

    Raises `RefusedUpload` where it is too large, too slow, empty, or a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        raise RefusedUpload(415, "expected the file as the body (curl --data-binary), found a form")
    length = request.headers.get("content-length", "")
    is_number = length.isascii() and length.isdecimal()
    if is_number and (len(length) > 12 or int(length) > limits.max_bytes):
        raise _too_large(limits)
    data = bytearray()
    async for chunk in _chunks(request, limits):
        data += chunk
    if not data:
        raise RefusedUpload(400, "expected an image file, found nothing")
    suffix = suffix_of(request.query_params.get("name", "")) or _SUFFIX_OF_TYPE.get(kind, "")
    return Upload(data=bytes(data), suffix=suffix)


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case; empty where it cannot be trusted."""
    suffix = PurePosixPath(PureWindowsPath(name).name).suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""


async def _chunks(request: Request, limits: UploadLimits) -> AsyncIterator[bytes]:
    """Yield a body as it comes, within the limits."""
    size = 0
    stream = request.stream()
    try:
        async with asyncio.timeout(limits.read_s):
            while True:
                async with asyncio.timeout(limits.pause_s):
                    chunk = await anext(stream, None)
                if chunk is None:
                    return
                size += len(chunk)
                if size > limits.max_bytes:
                    raise _too_large(limits)
                yield chunk
    except TimeoutError:
        raise RefusedUpload(
            408,
            f"expected the file within {limits.read_s:g} s and without pauses, found it too slow",
        ) from None
    except ClientDisconnect:
        raise RefusedUpload(400, "expected a whole file, found the connection closed") from None


def _too_large(limits: UploadLimits) -> RefusedUpload:
    return RefusedUpload(
        413, f"expected a file of at most {limits.max_bytes >> 20} MiB, found a larger one"
    )
