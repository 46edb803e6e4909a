"""Jobs that run after the response."""

import threading

from dcproxy import runtime


def test_job_runs_in_another_thread():
    ran = threading.Event()
    runtime.run_in_thread(ran.set)
    assert ran.wait(10)


def test_job_that_fails_is_logged(caplog):
    runtime.run_in_thread(lambda: 1 / 0)
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in threads:
        thread.join(0.5)
    assert "a background job failed" in caplog.text


def test_job_over_the_limit_is_dropped_with_a_warning(monkeypatch, caplog):
    slots = threading.BoundedSemaphore(1)
    monkeypatch.setattr(runtime, "_job_slots", slots)
    slots.acquire()
    ran = threading.Event()
    runtime.run_in_thread(ran.set)
    assert "was dropped" in caplog.text
    assert not ran.is_set()
    slots.release()
