"""Programs of the system that some tests need."""

import os
import shutil

import pytest


def require_program(program):
    """Find a program of a Debian package, or skip the test on a developer's machine."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if path is None and not os.environ.get("CI"):
        pytest.skip(f"needs Debian's package {program}")
    return path
