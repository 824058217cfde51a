"""Looks at a page as a browser does, through Chromium's debugging pipe: nothing to install.

The protocol is JSON with a NUL after each message, read by the browser from its file descriptor 3
and written to 4; https://chromedevtools.github.io/devtools-protocol/ lists its methods.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-sync", "--remote-debugging-pipe"),
]


class Browser:
    """A headless Chromium with one page.

    Args:
        program: The browser.
        profile: An empty directory for what it keeps.
    """

    def __init__(self, program: str, profile: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()

        def connect() -> None:
            # By copies: one of the two may have the other's number.
            copies = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(copies[0], 3)
            os.dup2(copies[1], 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}"],
            preexec_fn=connect,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._sent, self._received, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._in)
        os.close(self._out)

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._sent:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, page: Path, *, width: int, scheme: str = "light", media: str = "screen") -> None:
        """Load a page at a width in CSS pixels, in a colour scheme, on the screen or on paper."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self("Emulation.setEmulatedMedia", media=media, features=[feature])
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
        self("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self("Page.navigate", url=page.resolve().as_uri())
        while not self.seen("Page.loadEventFired"):
            self.events.append(self._receive())

    def seen(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of each event of a kind since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def ask(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page; None for `undefined`."""
        answer = self("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['result']['description']}")
        return answer["result"].get("value")

    def picture(self, target: Path) -> None:
        """Write the whole page as a PNG."""
        size = self("Page.getLayoutMetrics")["cssContentSize"]
        whole = {"clip": size | {"scale": 1}, "captureBeyondViewport": True}
        target.write_bytes(base64.b64decode(self("Page.captureScreenshot", **whole)["data"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            read = os.read(self._in, 1 << 20)
            if not read:
                raise RuntimeError("The browser has ended")
            self._received += read
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)
