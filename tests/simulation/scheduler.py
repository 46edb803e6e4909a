"""Greenlets on a virtual clock: nothing waits in real time, one seed decides all that is random."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

MAX_STEPS = 50_000


class NotQuietError(Exception):
    """The world still has something to do after ``MAX_STEPS`` steps."""


class Task(greenlet):
    """One thread of control. ``request`` is the request that it serves, if it serves one."""

    def __init__(
        self, run: Callable[[], Any], parent: greenlet, name: str, request: Any = None
    ) -> None:
        super().__init__(run, parent)
        self.name = name
        self.request = request
        self.is_killed = False
        self.suspensions = 0


class Event:
    """Something that one task waits for, with a timeout. It is set once."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self._scheduler = scheduler
        self._waiting: tuple[Task, int] | None = None
        self.is_set = False

    def set(self) -> None:
        self.is_set = True
        if self._waiting is not None:
            self._scheduler._resume_later(0.0, *self._waiting)

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds and tell whether the event was set."""
        if not self.is_set:
            task = self._scheduler.current
            self._waiting = (task, task.suspensions)
            self._scheduler.sleep(timeout)
            self._waiting = None
        return self.is_set


class Scheduler:
    """Runs tasks and callbacks in the order of their virtual times, then of their scheduling."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.is_closed = False
        self._main = getcurrent()
        self._queue: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._sequence = count()
        self._tasks: list[Task] = []

    @property
    def current(self) -> Task:
        task = getcurrent()
        if not isinstance(task, Task):
            raise RuntimeError("only a task can wait on the virtual clock")
        return task

    def spawn(self, run: Callable[[], Any], name: str, request: Any = None) -> Task:
        task = Task(run, self._main, name, request)
        self._tasks.append(task)
        self._resume_later(0.0, task, task.suspensions)
        return task

    def call_later(self, delay: float, callback: Callable[..., Any], *arguments: Any) -> None:
        """Call ``callback`` outside any task; it must not wait."""
        heappush(self._queue, (self.now + delay, next(self._sequence), callback, arguments))

    def sleep(self, seconds: float) -> None:
        if self.is_closed:
            raise GreenletExit
        task = self.current
        self._resume_later(seconds, task, task.suspensions)
        self._suspend(task)

    def kill_current(self) -> None:
        """Never resume this task again: no ``finally`` block of it runs in this world."""
        task = self.current
        task.is_killed = True
        self._suspend(task)

    def run(self) -> None:
        """Run until nothing is left to do. Raises ``NotQuietError``."""
        queue = self._queue
        for _ in range(MAX_STEPS):
            if not queue:
                return
            self.now, _, callback, arguments = heappop(queue)
            callback(*arguments)
        raise NotQuietError

    def close(self) -> None:
        """Release the tasks that have not ended. Whatever they try now has no effect."""
        self.is_closed = True
        self._queue.clear()
        for task in self._tasks:
            if task:
                task.throw(GreenletExit)
        self._tasks.clear()

    def _resume_later(self, delay: float, task: Task, suspension: int) -> None:
        self.call_later(delay, self._resume, task, suspension)

    def _resume(self, task: Task, suspension: int) -> None:
        # Of a timeout and the event that it limits, the second to come finds another suspension.
        if not task.is_killed and task.suspensions == suspension and not task.dead:
            task.switch()

    def _suspend(self, task: Task) -> None:
        self._main.switch()
        task.suspensions += 1
        if self.is_closed:
            raise GreenletExit
