"""Headless Chromium over a pipe: opens a page, says what it asked for and what went wrong."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE = 60.0
READY = "document.documentElement?.hasAttribute('data-ready')"
"""What a report says when its scripts are done."""


def find_browser():
    """The path of one; None where there is none, or no bash to start it."""
    chosen = os.environ.get("OPT_GYM_BROWSER")
    found = chosen or next(filter(None, map(shutil.which, NAMES)), None)
    return found if found and shutil.which("bash") else None


class Browser:
    """One page at a time; a context manager."""

    def __init__(self, program, folder):
        mine, theirs = os.pipe(), os.pipe()
        self._write, self._read = mine[1], theirs[0]
        self._process = subprocess.Popen(
            [
                *("bash", "-c", f'exec "$@" 3<&{mine[0]} 4>&{theirs[1]}', "bash"),
                *(program, *FLAGS, f"--user-data-dir={folder}", "about:blank"),
            ],
            pass_fds=(mine[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(mine[0])
        os.close(theirs[1])
        self._numbers, self._buffer, self._session = itertools.count(1), b"", None
        self.events = []
        targets = self._call("Target.getTargets")["targetInfos"]
        (target,) = [one for one in targets if one["type"] == "page"]
        attached = self._call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)
        os.close(self._write)
        os.close(self._read)

    def open(self, path, width=1440, height=900, dark=False, query="", ready=READY):
        """Loads a file, with a query behind it, and waits until it is ready."""
        self._call(
            "Page.navigate", url="about:blank"
        )  # the same page is loaded anew, too
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        url = Path(path).resolve().as_uri() + query
        self._call("Page.navigate", url=url)
        is_ready = f"location.href === {json.dumps(url)} && {ready}"
        end = time.monotonic() + PATIENCE
        while not self.value(is_ready):
            if time.monotonic() > end:
                raise TimeoutError(self.errors())
            time.sleep(0.05)

    def value(self, expression):
        """Of JavaScript."""
        found = self._call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in found:
            raise ValueError(found["exceptionDetails"])
        return found["result"].get("value")

    def screenshot(self, path, *, full=True):
        found = self._call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=full
        )
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def errors(self):
        """Of the console and the page."""
        bad = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [
            one["params"]
            for one in self.events
            if one["method"] in bad
            or one["params"].get("type") in ("error", "warning", "assert")
        ]

    def requests(self):
        """Addresses that were asked for, but for the file and what it has in itself."""
        asked = [
            one["params"]["request"]["url"]
            for one in self.events
            if one["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked[1:] if not url.startswith(("data:", "blob:"))]

    def _call(self, method, **params):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == number:
                if "error" in found:
                    raise ValueError(f"{method}: {found['error']}")
                return found["result"]
            if "method" in found:
                self.events.append(found)

    def _next(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], PATIENCE)
            chunk = os.read(self._read, 1 << 20) if ready else b""
            if not chunk:
                raise TimeoutError("the browser says nothing")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
