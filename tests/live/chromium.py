"""A headless Chromium, driven through pipes: no open port, no websocket."""

import contextlib
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import threading

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_S = 20
# The protocol speaks on descriptors 3 and 4; these may be in use by each other.
_LAUNCH = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(name), fcntl.F_DUPFD, 10) for name in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def find():
    """Return Chromium's name, or skip the test."""
    for name in NAMES:
        if shutil.which(name):
            return name
    pytest.skip(f"needs one of {', '.join(NAMES)} in PATH, to see the page as a browser does")


class Chromium:
    """A browser with one page; it records requests and console messages."""

    def __init__(self, profile, *, width=1280, height=800):
        self.console, self.requests, self.failures = [], [], []
        self._numbers = itertools.count(1)
        self._answers = {}
        self._answered = threading.Condition()
        self._loads = queue.Queue()
        to_read, self._writes = os.pipe()
        self._reads, to_write = os.pipe()
        command = [
            find(),
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(to_read), str(to_write), *command],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        self._session = None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def call(self, method, **parameters):
        """Call a method of the protocol and return its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        with self._answered:
            there = self._answered.wait_for(lambda: number in self._answers, PATIENCE_S)
            assert there, f"Chromium does not answer {method}"
            answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer.get('error')}"
        return answer["result"]

    def open(self, address):
        """Go to an address and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self._loads.get(timeout=PATIENCE_S)

    def evaluate(self, expression):
        """Return the value of a JavaScript expression; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression):
        """Return when an expression holds; it is evaluated at each redraw."""
        self.evaluate(f"""new Promise((resolve, reject) => {{
          const end = performance.now() + {1000 * (PATIENCE_S - 5)};
          (function look() {{
            if ({expression}) resolve(true);
            else if (performance.now() > end) reject(new Error("still not: " + {expression!r}));
            else setTimeout(look, 20);
          }})();
        }})""")

    def resize(self, width, height, *, scale=1):
        """Set the size of the page in pixels of CSS."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def prefer(self, scheme):
        """Emulate a system that prefers "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def close(self):
        """End it."""
        self._session = None
        with contextlib.suppress(OSError, AssertionError):
            self.call("Browser.close")
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._writes)
        self._listener.join(PATIENCE_S)

    def _listen(self):
        with os.fdopen(self._reads, "rb") as stream:
            held = b""
            while chunk := stream.read1(1 << 16):
                *messages, held = (held + chunk).split(b"\0")
                for message in messages:
                    self._take(json.loads(message))

    def _take(self, message):
        if "id" in message:
            with self._answered:
                self._answers[message["id"]] = message
                self._answered.notify_all()
            return
        metadata = message["params"]
        match message["method"]:
            case "Page.loadEventFired":
                self._loads.put(True)
            case "Network.requestWillBeSent":
                self.requests.append(metadata["request"]["url"])
            case "Network.responseReceived" if metadata["response"]["status"] >= 400:
                self.failures.append((metadata["response"]["status"], metadata["response"]["url"]))
            case "Runtime.exceptionThrown":
                self.console.append(str(metadata["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if metadata["type"] in {"error", "warning", "assert"}:
                self.console.append(str(metadata["args"]))
            case "Log.entryAdded" if metadata["entry"]["level"] in {"error", "warning"}:
                self.console.append(
                    metadata["entry"]["text"] + " " + metadata["entry"].get("url", "")
                )
