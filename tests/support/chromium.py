"""Debian's Chromium, how it is started, and the credentials that it sends."""

import shutil

from playwright.sync_api import Browser, Playwright

from tests.support.callers import CALLER

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HTTP_CREDENTIALS = dict(zip(("username", "password"), CALLER, strict=True))


def launch_chromium(playwright: Playwright) -> Browser:
    """Start Chromium without what a test does not need: a sandbox, a GPU, background traffic."""
    return playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=[
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    )
