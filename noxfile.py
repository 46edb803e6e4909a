"""Checks and releases: ``nox --list`` names the sessions, CONTRIBUTING.md says when to use them."""

import os
import shutil
from pathlib import Path

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = ["3.11", "3.12", "3.13"]
CONSTRAINTS = "deploy/constraints.txt"
NOT_LIVE = ("-m", "not live", "-n", "auto")

LIVE_TESTS_OF_GUNICORN = [f"tests/live/test_{name}.py" for name in ("gunicorn", "logs", "reload")]
"""These depend on internals of gunicorn, so they also run with its lowest version."""

WHEEL_CHECK = """
from importlib.resources import files

from webob import Request

from dcproxy.app import app_factory

assert (files("dcproxy") / "py.typed").is_file(), "py.typed is missing"
page = Request.blank("/api", accept="text/html").get_response(app_factory({}))
assert page.status_code == 200 and "<html" in page.text, "the templates are missing"
print("the wheel works")
"""

nox.needs_version = ">=2025.11.12"
nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
# nox reports a missing interpreter as "skipped".
nox.options.error_on_missing_interpreters = False

# Interpreters of pyenv need not be active. They come last, so those on PATH are preferred.
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
_PYENV_FOLDERS = [str(folder) for python in PYTHONS for folder in _PYENV.glob(f"{python}.*/bin")]
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *_PYENV_FOLDERS])


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run pytest. Arguments after ``--`` are pytest's, such as ``-m 'not live'``."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions of the dependencies that pyproject.toml allows."""
    project = PYPROJECT["project"]
    requirements = project["dependencies"] + project["optional-dependencies"]["mock"]
    session.install("-e", ".[test]", *(text.replace(">=", "==") for text in requirements))
    if session.posargs:
        session.run("pytest", *session.posargs)
    else:
        session.run("pytest", "-q", *NOT_LIVE)
        session.run("pytest", "-q", "-n", "auto", *LIVE_TESTS_OF_GUNICORN)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and the imports between the layers."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "--strict", "dcproxy", "noxfile.py")
    session.run("lint-imports", "--no-cache", "--no-logo")


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure the branch coverage of the fast tests, without the greenlets of the simulation."""
    session.install("-e", ".[test]")
    session.run("pytest", "-q", *NOT_LIVE, "--ignore=tests/simulation", "--cov", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Check the documentation against the code."""
    session.install("-e", ".[test]")
    session.run("pytest", "tests/unit/test_docs.py", *session.posargs)


@nox.session
def simulation(session: nox.Session) -> None:
    """Simulate creates for a minute. ``--worlds 100000`` after ``--`` is the long run."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.simulation", *(session.posargs or ("--seconds", "55")))


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Run the benchmarks. ``--smoke`` after ``--`` only checks that they run."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session(venv_backend="venv")
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it with pip as a user does, and try it from an empty folder."""
    session.install(_build_wheel(session))
    _try_installation(session)


@nox.session(venv_backend="venv")
def pinned(session: nox.Session) -> None:
    """Install and try dcproxy with the versions in deploy/constraints.txt, as the image does."""
    session.install("--require-hashes", "-r", CONSTRAINTS)
    session.install("--no-deps", _build_wheel(session, "--no-build-isolation"))
    session.run("pip", "check")
    _try_installation(session)


@nox.session
def constraints(session: nox.Session) -> None:
    """Update deploy/constraints.txt. ``--upgrade`` after ``--`` takes the newest versions."""
    session.install("uv")
    # The build backend is pinned as well: pip would fetch it without a hash.
    build = Path(session.create_tmp(), "build-requirements.txt")
    build.write_text("\n".join(PYPROJECT["build-system"]["requires"]))
    session.run(
        *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHONS[0]),
        *("--generate-hashes", "--no-annotate", "--custom-compile-command", "nox -s constraints"),
        *("--output-file", CONSTRAINTS, *session.posargs, "pyproject.toml", str(build)),
    )


@nox.session
def audit(session: nox.Session) -> None:
    """Look up vulnerabilities of the versions in deploy/constraints.txt. Needs the network."""
    session.install("pip-audit")
    # Without --strict, pip-audit passes over a package of which it gets no data.
    options = ("--strict", "--require-hashes", "--disable-pip")
    session.run("pip-audit", *options, "--requirement", CONSTRAINTS, *session.posargs)


def _build_wheel(session: nox.Session, *options: str) -> str:
    # setuptools would also pack modules that an earlier build left in this folder.
    shutil.rmtree("build", ignore_errors=True)
    folder = Path(session.create_tmp(), "wheel")
    shutil.rmtree(folder, ignore_errors=True)
    session.run("pip", "wheel", "--quiet", "--no-deps", *options, "--wheel-dir", str(folder), ".")
    [built] = folder.glob("dcproxy-*.whl")
    return str(built)


def _try_installation(session: nox.Session) -> None:
    empty = Path(session.create_tmp(), "empty")
    empty.mkdir(exist_ok=True)
    with session.chdir(empty):
        session.run("dcproxy", "--version")
        session.run("python", "-c", WHEEL_CHECK)
