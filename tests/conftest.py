"""How pytest runs the tests: which are live, in how many processes, with how many examples."""

import gc
import os
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck

LIVE_FOLDERS = {"live", "browser"}

for name, examples in (("quick", 10), ("thorough", 300)):
    hypothesis.settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
# ``--hypothesis-profile thorough`` takes the other one.
hypothesis.settings.load_profile("quick")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Import the fixtures, except in the controller of xdist, which runs no tests.

    They import the package, so pytest-cov must have started before.
    """
    if not session.config.option.numprocesses:
        session.config.pluginmanager.import_plugin("tests.fixtures")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no live tests where none is selected: that takes half of the collection's time."""
    is_live = collection_path.is_dir() and collection_path.name in LIVE_FOLDERS
    return (is_live and config.option.markexpr == "not live") or None


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start more workers than there are processors: tests wait, live tests most of the time."""
    processors = len(os.sched_getaffinity(0))
    return processors + 1 if config.option.markexpr == "not live" else 2 * processors


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of servers, commands and browsers."""
    folder = Path(__file__).parent
    for item in items:
        if LIVE_FOLDERS & set(item.path.relative_to(folder).parts):
            item.add_marker(pytest.mark.live)


def pytest_collection_finish() -> None:
    """Exclude modules and tests from garbage collection: a full one would take half a second."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Collect garbage once. At its end pytest does it five times, which takes a second."""
    gc.collect()
    gc.freeze()
