"""Debian's Chromium, driven over chromedriver's own protocol (W3C WebDriver): what the tests of the page see of it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

# As root in a container there is no sandbox of its own to be had; nothing of it is to look for a network.
_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
_SECONDS = 60.0


def is_there() -> bool:
    """Whether both programs are installed: `scripts/setup page`."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


class Browser:
    """One browser with one window."""

    def __init__(self, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._directory = tempfile.mkdtemp(prefix="erl-browser-")
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}", "--log-level=OFF"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._directory},
        )
        self._url = f"http://127.0.0.1:{port}"
        self._session = ""
        flags = [*_FLAGS, f"--user-data-dir={self._directory}/data", f"--window-size={width},{height}"]
        options = {"args": flags, "binary": shutil.which("chromium")}
        capabilities = {
            "alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        }
        try:
            self._until_it_listens()
            self._session = self._asked("POST", "/session", {"capabilities": capabilities})["sessionId"]
            self.emulate(width, height, dark=dark)
        except BaseException:
            self.close()
            raise

    def _until_it_listens(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                self._asked("GET", "/status")
                return
            except (OSError, urllib.error.URLError):
                if time.monotonic() > deadline or self._driver.poll() is not None:
                    raise
                time.sleep(0.05)  # the pause between two looks

    def _asked(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:2_000]) from None

    def _in_session(self, method: str, path: str, body: object = None) -> Any:
        return self._asked(method, f"/session/{self._session}{path}", body)

    def chrome(self, command: str, **parameters: object) -> Any:
        """A command of Chrome's own protocol."""
        return self._in_session("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def emulate(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """A screen of this size, and the colours that its user prefers."""
        self.chrome(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.chrome("Emulation.setEmulatedMedia", features=theme)

    def go(self, url: str) -> None:
        """Open a URL."""
        self._in_session("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        """Where the browser is."""
        return str(self._in_session("GET", "/url"))

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script's body in the page; what it returns."""
        return self._in_session("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script: str, *arguments: object) -> Any:
        """What an expression is as soon as it is true of the page."""
        deadline = time.monotonic() + _SECONDS
        while not (value := self.run(f"return ({script})", *arguments)):
            if time.monotonic() > deadline:
                shown = self.run("return document.body.innerText.slice(0, 3000)")
                raise AssertionError(f"never: {script}\n{self.messages()}\n{shown}")
            time.sleep(0.05)  # the pause between two looks
        return value

    def messages(self) -> list[str]:
        """What the browser complains of: errors of scripts, what the policy has blocked; not how requests went."""
        said = self._in_session("POST", "/se/log", {"type": "browser"})
        return [each["message"] for each in said if each["source"] != "network"]

    def picture(self, path: Path) -> None:
        """The window as a PNG."""
        path.write_bytes(base64.b64decode(self._in_session("GET", "/screenshot")))

    def close(self) -> None:
        """End it, with all of its processes."""
        if self._session:
            with contextlib.suppress(AssertionError, OSError):
                self._in_session("DELETE", "")
        self._driver.terminate()
        try:
            self._driver.wait(10)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()
        # A process of the browser's that is just ending may still write there.
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
