"""Snapshots pushed to pages: server-sent events, about one a second."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MAX_CLIENTS = 16
PERIOD_S = 1.0
_RETRY_MS = 1000

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class SnapshotPublisher:
    """Takes a snapshot a second, whether anybody looks or not, and hands it to all who wait.

    What a snapshot costs does not depend on how many look.
    """

    def __init__(self, snapshot: Callable[[float], dict[str, Any]]) -> None:
        self._snapshot = snapshot
        self._news = asyncio.Condition()
        self.clients = 0
        self.number = 0
        self.text = ""
        self.closed = False

    async def run(self) -> None:
        """Publish until cancelled."""
        while not self.closed:
            began = time.monotonic()
            await self.publish()
            await asyncio.sleep(max(0.05, PERIOD_S - (time.monotonic() - began)))

    async def publish(self) -> None:
        """Take a snapshot now."""
        snapshot = await run_in_threadpool(self._snapshot, time.time())
        text = json.dumps(snapshot, allow_nan=False, separators=(",", ":"))
        async with self._news:
            self.text, self.number = text, self.number + 1
            self._news.notify_all()

    async def close(self) -> None:
        """End all streams."""
        self.closed = True
        async with self._news:
            self._news.notify_all()

    async def after(self, number: int) -> tuple[int, str]:
        """Return the first snapshot later than `number`, and its number."""
        async with self._news:
            await self._news.wait_for(lambda: self.number > number or self.closed)
            return self.number, self.text


class EventStream(Response):
    """An answer without end: every snapshot from now on, until the page goes away.

    Each is complete, so that a page that lost its connection resumes with the next. One that takes
    nothing any more is disconnected by the server's protocol.
    """

    def __init__(self, publisher: SnapshotPublisher) -> None:
        super().__init__()
        self._publisher = publisher

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        publisher = self._publisher
        publisher.clients += 1
        gone = asyncio.ensure_future(_wait_until_gone(receive))
        sending = asyncio.ensure_future(self._send_all(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            publisher.clients -= 1
            gone.cancel()
            sending.cancel()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await _send_chunk(send, f"retry: {_RETRY_MS}\n\n")
        number = 0
        while not self._publisher.closed:
            number, text = await self._publisher.after(number)
            await _send_chunk(send, f"id: {number}\ndata: {text}\n\n")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_chunk(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
