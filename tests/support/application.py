"""The WSGI application under test, and WebTest clients of it.

An application is expensive (it loads botocore's models) and has no state of a caller, so tests
share one per combination of options. Clients are cheap and mutable: each test makes its own.
"""

import time
from functools import cache
from typing import TYPE_CHECKING, Any

from webtest import TestApp

from tests.support.callers import CALLER
from tests.support.package import Runtime, Settings, application

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# What the applications slept on a virtual clock, which goes on at once; the fixture ``sleeps``
# empties it for each test.
recorded_sleeps: list[float] = []


RUNTIME = Runtime(
    sleep=recorded_sleeps.append, monotonic=lambda: time.monotonic() + sum(recorded_sleeps)
)


def new_application(**options: Any) -> "WSGIApplication":
    """Make an application that nothing else uses; ``options`` are those of the settings."""
    return application(Settings(**options), RUNTIME)


@cache
def shared_application(**options: Any) -> "WSGIApplication":
    """Give the application that all tests with these options share."""
    return new_application(**options)


def client_of(app: "WSGIApplication", caller: tuple[str, str] | None = CALLER) -> TestApp:
    """Make a client of an application, with the credentials of a caller or with none."""
    client = TestApp(app, extra_environ={"HTTP_HOST": "localhost:3001"})
    if caller:
        client.authorization = ("Basic", caller)
    return client
