"""Start the explorer by its command, and open it in a headless Chromium: for tests and the pictures of the docs."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)  # fmt: skip


def chromium() -> str | None:
    """Return the path of Chromium, or None."""
    return shutil.which("chromium") or shutil.which("google-chrome")


MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs Gradio: keras-coda[explore]"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs Playwright: keras-coda[test]"),
    pytest.mark.skipif(chromium() is None, reason="needs Chromium: apt-get install chromium"),
]


@contextlib.contextmanager
def server(folder, *arguments):
    """Run ``keras-coda explore`` at a free port, with its temporary files in a folder; yield its address.

    Raises:
        RuntimeError: if it does not start, does not stop without an error, or leaves a file behind.
    """
    command = [sys.executable, "-m", "keras_coda", "explore", "--port", "0", *map(str, arguments)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TMPDIR": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    options = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "text": True}
    with (folder / "stderr.txt").open("w+") as errors:
        process = subprocess.Popen(command, stderr=errors, **options)
        try:
            line = process.stdout.readline()  # "The explorer is at http://127.0.0.1:7860 (Ctrl-C stops it)."
            if " at " not in line:
                errors.seek(0)
                raise RuntimeError(f"The explorer must start. Received: {line!r}, {errors.read()}")
            yield line.split(" at ")[1].split()[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    left = [path.name for path in folder.iterdir() if path.name != "stderr.txt"]
    if process.returncode or left:
        raise RuntimeError(
            f"The explorer must stop without an error and leave no file. Received: {process.returncode}, {left}"
        )


@contextlib.contextmanager
def browser():
    """Yield a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            yield chrome
        finally:
            chrome.close()


def open_page(chrome, address: str, width: int = 1280, height: int = 900, **options):
    """Open the explorer in a context of its own, and wait for its first map.

    Requests to other hosts are refused, and listed in ``page.foreign``; ``page.complaints`` lists errors.
    """
    context = chrome.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **options)
    context.grant_permissions(["camera"])
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.foreign, page.complaints = [], []

    def complain(is_wrong, text):
        if is_wrong:
            page.complaints.append(text)

    def refuse(route):
        page.foreign.append(route.request.url)
        route.abort()

    context.route(lambda url: url.startswith(("http", "ws")) and urlsplit(url).hostname != "127.0.0.1", refuse)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda said: complain(said.type == "error" and "load resource" not in said.text, said.text))
    page.on("response", lambda got: complain(got.status >= 400, f"{got.status} {got.url}"))
    page.goto(address)
    page.wait_for_selector("#stage canvas[data-id]")
    return page


def stroke(page, start, end):
    """Draw a straight line with the brush between points given as shares of width and height."""
    canvas = page.locator("#stage canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=8)
    page.mouse.up()
    page.wait_for_selector("#what-if .kc-real")
