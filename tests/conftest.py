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
    """Import the fixtures, but not in the process that gives the tests to others: it runs none.

    They import the package: pytest-cov has begun to measure by then.
    """
    if not session.config.option.numprocesses:
        session.config.pluginmanager.import_plugin("tests.fixtures")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no live tests where none is selected: that takes half of the collection's time."""
    is_live = collection_path.is_dir() and collection_path.name in LIVE_FOLDERS
    return (is_live and config.option.markexpr == "not live") or None


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run more tests at once than there are processors: some wait, and those that are live much."""
    processors = len(os.sched_getaffinity(0))
    return processors + 1 if config.option.markexpr == "not live" else 2 * processors


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of servers, commands and browsers."""
    folder = Path(__file__).parent
    for item in items:
        if LIVE_FOLDERS & set(item.path.relative_to(folder).parts):
            item.add_marker(pytest.mark.live)


def pytest_collection_finish() -> None:
    """Keep the garbage collector away from modules and tests: each full run takes half a second."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Collect garbage once. At its end pytest does it five times, which takes a second."""
    gc.collect()
    gc.freeze()
