"""Starts ``dcproxy`` and ``gunicorn`` without the second that imports and models take each time.

Run as a program, it loads them, and then forks for each command that arrives at its standard
input, a socket. The imports of the package have no effects: the command runs as one of its own.
``dcproxy`` and gunicorn's workers with gevent run in copies of a process where gevent has replaced
the blocking calls of the standard library, as ``dcproxy`` does before it imports the rest.
"""

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryFile

BIN = Path(sys.executable).parent
ANEW = ("env",)
"""Put before a command, lets it start as usual: where its memory or its imports matter."""
WORKER_CLASS = "--worker-class=dcproxy.server.worker.Worker"
PROGRAMS = {
    "dcproxy": ("dcproxy.server.command", "main"),
    "gunicorn": ("gunicorn.app.wsgiapp", "run"),
}
ALSO_IMPORTED = ("gunicorn.app.wsgiapp", "gunicorn.app.pasterapp", "gunicorn.glogging")
MESSAGE_BYTES = 200_000
LIMIT_SECONDS = 120
"""For what takes a moment, on a machine that has much else to do."""


class Process:
    """A started command: what the tests use of ``subprocess.Popen``."""

    def __init__(self, launcher, pid):
        self._launcher = launcher
        self.pid = pid
        self.returncode = None

    def poll(self):
        if self.returncode is None:
            self.returncode = self._launcher.exit_code(self.pid)
        return self.returncode

    def wait(self, timeout=LIMIT_SECONDS):
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The process that forks. It sends the process of each command, and later its exit code."""

    def __init__(self, is_patched):
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._exit_codes = {}
        command = [sys.executable, "-P", __file__, *["patched"] * is_patched]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with theirs:
            self._process = subprocess.Popen(command, stdin=theirs, env=env)
        atexit.register(self._stop)

    def _stop(self):
        self._socket.close()
        self._process.wait(LIMIT_SECONDS)

    def start(self, command, stdout, stderr, cwd, env):
        given = {"command": command, "cwd": str(cwd or Path.cwd()), "env": env or dict(os.environ)}
        with self._lock:
            self._socket.settimeout(LIMIT_SECONDS)
            files = [stdout.fileno(), stderr.fileno()]
            socket.send_fds(self._socket, [json.dumps(given).encode()], files)
            while (pid := self._receive()) is None:
                pass
        return Process(self, pid)

    def exit_code(self, pid):
        with self._lock:
            self._socket.settimeout(0)
            with suppress(BlockingIOError):
                while True:
                    self._receive()
        return self._exit_codes.get(pid)

    def _receive(self):
        """Receive a message; give the process that has started, or None."""
        message = self._socket.recv(MESSAGE_BYTES)
        if not message:
            raise RuntimeError("the launcher has ended")
        pid, code = json.loads(message)
        if code is None:
            return pid
        self._exit_codes[pid] = code
        return None


_launcher = cache(Launcher)
_first_start = threading.Lock()


def start(command, stdout, stderr, cwd=None, env=None):
    """Start a command: by a fork if it is one of ``PROGRAMS`` of this environment."""
    command = list(map(str, command))
    program = Path(command[0])
    if program.parent != BIN or program.name not in PROGRAMS:
        return subprocess.Popen(command, stdout=stdout, stderr=stderr, cwd=cwd, env=env)
    is_patched = program.name == "dcproxy" or WORKER_CLASS in command
    with _first_start:
        launcher = _launcher(is_patched)
    return launcher.start(command, stdout, stderr, cwd, env)


def run(command, cwd=None, env=None, timeout=LIMIT_SECONDS):
    """Run a command to its end; give its exit code and what it wrote, as ``subprocess.run``."""
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        process = start(command, stdout, stderr, cwd, env)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess(command, code, stdout.read(), stderr.read())


def serve(is_patched):
    """Import everything, and fork for each request until the socket is closed."""
    requests = socket.socket(fileno=os.dup(0))
    fork, waitpid, set_handler = os.fork, os.waitpid, signal.signal  # those without gevent

    def reap(*_):
        with suppress(ChildProcessError, BrokenPipeError):
            while (ended := waitpid(-1, os.WNOHANG))[0]:
                requests.send(json.dumps([ended[0], os.waitstatus_to_exitcode(ended[1])]).encode())

    set_handler(signal.SIGCHLD, reap)
    if is_patched:
        import_module("gevent.monkey").patch_all()
    modules = walk_packages(import_module("dcproxy").__path__, "dcproxy.")
    for name in (*(module.name for module in modules), *ALSO_IMPORTED):
        import_module(name)
    # This caches botocore's models, which are the same for every command.
    settings, runtime = (import_module(f"dcproxy.{name}") for name in ("settings", "runtime"))
    client = import_module("dcproxy.ec2.client")
    client.EC2Client(
        settings.Settings(), runtime.Runtime(), record_call=print, record_refusal=print
    )
    gc.freeze()
    while True:
        message, files, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, 2)
        if not message:
            return
        pid = fork()
        if pid == 0:
            set_handler(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            become(json.loads(message), files)
        for file in files:
            os.close(file)
        requests.send(json.dumps([pid, None]).encode())


def become(given, files):
    """Run a command in this process, and exit."""
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor, file in enumerate(files, 1):
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(given["cwd"])
    os.environ.clear()
    os.environ.update(given["env"])
    sys.argv = given["command"]
    # gunicorn has taken this default from the folder in which it was imported.
    import_module("gunicorn.config").Chdir.default = given["cwd"]
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [str(BIN), *filter(None, folders)]
    module, function = PROGRAMS[Path(sys.argv[0]).name]
    sys.exit(getattr(import_module(module), function)())


if __name__ == "__main__":
    serve("patched" in sys.argv)
