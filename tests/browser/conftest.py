"""Chromium, and the site that it visits."""

import pytest
from playwright.sync_api import sync_playwright

from tests.support.chromium import HTTP_CREDENTIALS, launch_chromium
from tests.support.servers import WORKER, gunicorn


@pytest.fixture(scope="module")
def site(moto_url, tmp_path_factory):
    with gunicorn(tmp_path_factory.mktemp("browser"), moto_url, *WORKER) as server:
        yield f"http://localhost:{server.port}/api"


@pytest.fixture
def programmed_site(tmp_path, programmed_ec2):
    with gunicorn(tmp_path, programmed_ec2.url, *WORKER) as server:
        yield f"http://localhost:{server.port}/api"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = launch_chromium(playwright)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(http_credentials=HTTP_CREDENTIALS, java_script_enabled=False)
    yield context.new_page()
    context.close()
