"""Debian's Chromium, and the credentials that it sends."""

import shutil

from tests.support.callers import CALLER

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HTTP_CREDENTIALS = dict(zip(("username", "password"), CALLER, strict=True))
