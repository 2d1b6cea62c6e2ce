"""Coordinates from the PDB archive, accepted only if they are the requested entry."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from deepfreak.errors import FetchError, OutputError, StructureError
from deepfreak.physics.structure_factors.model import GZIP_MAGIC, read_coordinates
from deepfreak.storage.files import cache_folder, written_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

PDB_URL = "https://files.rcsb.org/download"
MAX_DOWNLOAD_BYTES = 256 * 1024**2
MAX_TEXT_BYTES = 2 * 1024**3
MAX_REDIRECTS = 5
CONNECT_S = 10.0
SILENCE_S = 30.0
CHUNK_BYTES = 64 * 1024


def fetch_entry(
    pdb_id: str,
    *,
    folder: Path | None = None,
    overwrite: bool = False,
    url: str = PDB_URL,
    timeout_s: float = 300.0,
    progress: Callable[[int, int | None], None] | None = None,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    max_text_bytes: int = MAX_TEXT_BYTES,
) -> Path:
    """Download the mmCIF file of a PDB entry and return where it is.

    The file gets its name only when it is whole, gzipped mmCIF of this very entry, with a cell and
    atoms. Runs its own event loop, so it cannot be called from a running one. Raises `FetchError`
    when the download fails or brings something else; `OutputError` when the file is there already
    and `overwrite` is not set, or cannot be written.

    `pdb_id` has four characters ("4RVY") or the extended form ("pdb_00004rvy"). `ID.cif.gz` goes
    into `folder`, by default where `pdb:ID` looks for it. `url` is a folder of the archive or a
    mirror. `progress` is called with the bytes received and, if the server states it, their total.
    `timeout_s` limits the whole download, `max_bytes` the file, `max_text_bytes` its text.
    """
    import httpx

    name = canonical_id(pdb_id)
    path = entry_path(pdb_id, folder=folder)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} is there already; use --overwrite to replace it")
    address = f"{url.rstrip('/')}/{name}.cif.gz"
    try:
        with written_whole(path) as draft:
            asyncio.run(_receive(address, draft, max_bytes, timeout_s, progress))
            draft.flush()
            _check_entry(Path(draft.name), name, address, max_text_bytes)
    except TimeoutError:
        raise FetchError(
            f"{address}: no complete file within {timeout_s:g} s; try again or raise --timeout"
        ) from None
    except httpx.TimeoutException as error:
        raise FetchError(f"{address}: the server is silent; try again later") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise FetchError(
            f"{address}: cannot be fetched: {reason}; "
            "check the network, or name a mirror with --url"
        ) from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def canonical_id(pdb_id: str) -> str:
    """Return the entry's name as the archive writes it: "4RVY", or "pdb_12345678" if it must."""
    if re.fullmatch(r"[0-9][0-9a-z]{3}", pdb_id, re.ASCII | re.IGNORECASE):
        return pdb_id.upper()
    if re.fullmatch(r"pdb_[0-9a-z]{8}", pdb_id, re.ASCII | re.IGNORECASE):
        digits = pdb_id[4:].lower()
        return digits[4:].upper() if digits.startswith("0000") else f"pdb_{digits}"
    raise FetchError(
        f"expected a PDB id such as 4RVY or pdb_00004rvy, found {pdb_id!r}; see www.rcsb.org"
    )


def entry_path(pdb_id: str, *, folder: Path | None = None) -> Path:
    """Return where the coordinates of an entry are kept, whether they are there or not.

    Raises `OutputError` when no folder is known.
    """
    if folder is None:
        known = cache_folder()
        if known is None:
            raise OutputError(
                "found no home folder that keeps PDB entries: set DEEPFREAK_CACHE to a folder"
            )
        folder = known / "pdb"
    return folder / f"{canonical_id(pdb_id)}.cif.gz"


async def _receive(
    address: str,
    draft: BinaryIO,
    max_bytes: int,
    timeout_s: float,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """Stream the bytes of `address` into `draft`.

    httpx limits each wait; the deadline around it limits their sum, whatever a server drips.
    """
    import httpx

    patience = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
    async with (
        asyncio.timeout(timeout_s),
        httpx.AsyncClient(
            timeout=patience, follow_redirects=True, max_redirects=MAX_REDIRECTS
        ) as client,
        # The file is stored as it stands in the archive: no encoding on top of its gzip.
        client.stream("GET", address, headers={"Accept-Encoding": "identity"}) as response,
    ):
        _check_response(response, address)
        length = response.headers.get("Content-Length", "")
        total = int(length) if re.fullmatch(r"[0-9]{1,18}", length, re.ASCII) else None
        received = 0
        if total is None or total <= max_bytes:
            async for chunk in response.aiter_raw(CHUNK_BYTES):
                draft.write(chunk)
                received += len(chunk)
                if received > max_bytes:
                    break
                if progress is not None:
                    progress(received, total)
        if max(received, total or 0) > max_bytes:
            raise FetchError(f"{address}: larger than the limit of {max_bytes / 1e6:g} MB")


def _check_response(response: httpx.Response, address: str) -> None:
    """Raise `FetchError` unless the server answers with a file, over https if requested so."""
    if response.status_code == 404:
        raise FetchError(f"{address}: the archive has no such entry; check the id")
    if response.status_code != 200:
        raise FetchError(
            f"{address}: the server answered {response.status_code} {response.reason_phrase}; "
            "try again later, or name a mirror with --url"
        )
    hops = [*response.history, response]
    if address.startswith("https:") and any(hop.url.scheme != "https" for hop in hops):
        raise FetchError(f"{address}: redirected to an address without https; not followed")


def _check_entry(draft: Path, name: str, address: str, max_text_bytes: int) -> None:
    """Raise `FetchError` unless `draft` is a gzipped mmCIF file of the entry `name`."""
    with draft.open("rb") as content:
        start = content.read(512)
    if not start.startswith(GZIP_MAGIC):
        what = "a web page" if b"<html" in start.lower() else f"{draft.stat().st_size} other bytes"
        raise FetchError(f"{address}: expected a gzipped mmCIF file, the server sent {what}")
    try:
        structure = read_coordinates(draft, max_bytes=max_text_bytes)
    except StructureError as error:
        # The draft's own name means nothing to anyone.
        reason = str(error).removeprefix(f"{draft}: ")
        raise FetchError(f"{address}: the file cannot be used: {reason}") from error
    # gemmi takes the name of an mmCIF structure from _entry.id.
    found = structure.name
    if not found or not _same_entry(found, name):
        raise FetchError(f"{address}: expected entry {name}, the file is of {found or 'no entry'}")


def _same_entry(found: str, name: str) -> bool:
    try:
        return canonical_id(found) == name
    except FetchError:
        return False
