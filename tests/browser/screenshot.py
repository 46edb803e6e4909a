"""Take the screenshot of the README: the account's own snapshots in the mock.

Run ``python -m tests.browser.screenshot docs/images/storage-snapshots.png``.
"""

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.addresses import SNAPSHOTS
from tests.support.chromium import launch_chromium
from tests.support.package import MOCK_USER
from tests.support.servers import BIN, running

SIZE = {"width": 1280, "height": 680}


def take_screenshot(file: Path) -> None:
    """Run ``dcproxy -i mock`` on a free port, and save its list of snapshots as a PNG."""
    user, _, password = MOCK_USER.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        command = [BIN / "dcproxy", "-i", "mock", "-p", "0"]
        with (
            running(command, Path(folder, "log"), cwd=folder) as server,
            sync_playwright() as playwright,
        ):
            browser = launch_chromium(playwright)
            page = browser.new_page(
                viewport=SIZE,
                device_scale_factor=1,
                color_scheme="light",
                http_credentials={"username": user, "password": password},
            )
            page.goto(f"http://localhost:{server.port}{SNAPSHOTS}?owner_id=self")
            page.screenshot(path=file)
            browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take the screenshot of the README.")
    parser.add_argument("file", type=Path, help="the PNG to write")
    take_screenshot(parser.parse_args().file)
