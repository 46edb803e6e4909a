"""Files of accounts, and the verification of passwords."""

import queue
import subprocess
import sys
import threading

import pytest

from dcproxy.auth import passwords
from dcproxy.auth.passwords import Passwords, read_passwords
from dcproxy.deltacloud.errors import ApiError
from dcproxy.settings import SettingError
from tests.support.accounts import htpasswd_line, password_hash, password_of
from tests.support.servers import wait_until

LINE = htpasswd_line("reader")
HASH = password_hash(password_of("reader"))


@pytest.fixture
def verifier():
    return Passwords({"reader": HASH.encode()})


def status_of(verifier, name, password, seconds=30, address="192.0.2.1"):
    try:
        verifier.verify(name, password, address, seconds)
    except ApiError as error:
        return error.status
    return 200


def read(tmp_path, text):
    file = tmp_path / "accounts"
    file.write_text(text)
    return read_passwords(file)


@pytest.mark.parametrize("prefix", ["$2y$", "$2b$", "$2a$"])
def test_prefix_of_the_hash_may_be_any_of_bcrypt(tmp_path, prefix):
    hashes = read(tmp_path, f"reader:{HASH.replace('$2b$', prefix)}\n")
    assert status_of(Passwords(hashes), "reader", password_of("reader")) == 200
    assert status_of(Passwords(hashes), "reader", "wrong") == 401


def test_comments_empty_lines_and_line_ends_of_windows_are_allowed(tmp_path):
    hashes = read(tmp_path, f"# clients\r\n\r\n  \r\n{LINE.strip()}  \r\n")
    assert hashes == {"reader": HASH.encode()}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"reader:{HASH}", "line 3: the name reader is there already"),
        ("backup:$apr1$x$Nh0QzUxNCuH0nlHtHpGXk1", "line 3: backup has no bcrypt hash"),
        ("backup:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "line 3: backup has no bcrypt hash"),
        ("backup:$5$x$y", "line 3: backup has no bcrypt hash"),
        ("backup:password", "line 3: backup has no bcrypt hash"),
        (f"backup:{HASH}x", "line 3: backup has no bcrypt hash"),
        (f"backup:{HASH[:-1]}", "line 3: backup has no bcrypt hash"),
        (f"backup:{HASH}:more", "line 3: backup has no bcrypt hash"),
        (f"backup:$2b$31${HASH[7:]}", "line 3: backup has no bcrypt hash"),
        (f"backup:{HASH[:28]}z{HASH[29:]}", "line 3: backup has no bcrypt hash"),
        ("backup:", "line 3: backup has no bcrypt hash"),
        ("backup", "line 3: backup has no bcrypt hash"),
        (f":{HASH}", "line 3: a name has 2 to 64"),
        (f"b:{HASH}", "line 3: a name has 2 to 64"),
        (f"{'b' * 65}:{HASH}", "line 3: a name has 2 to 64"),
        (f"back up:{HASH}", "line 3: a name has 2 to 64"),
        (f"bäckup:{HASH}", "line 3: a name has 2 to 64"),
    ],
)
def test_wrong_line_is_named_without_its_hash(tmp_path, line, message):
    with pytest.raises(SettingError) as caught:
        read(tmp_path, f"# clients\n{LINE}{line}\n")
    assert f"{tmp_path}/accounts, {message}" in str(caught.value)
    assert HASH not in str(caught.value)
    assert "$" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nobody\n"])
def test_file_without_accounts_is_refused(tmp_path, text):
    with pytest.raises(SettingError, match="has no accounts"):
        read(tmp_path, text)


def test_unreadable_file_is_named(tmp_path):
    with pytest.raises(SettingError, match="nowhere cannot be read"):
        read_passwords(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match="binary cannot be read"):
        read_passwords(tmp_path / "binary")


def test_right_password_costs_bcrypt_once_and_a_wrong_one_each_time(verifier, monkeypatch):
    calls = count_bcrypt(monkeypatch)
    for _ in range(3):
        assert status_of(verifier, "reader", password_of("reader")) == 200
    assert len(calls) == 1
    for _ in range(2):
        assert status_of(verifier, "reader", "wrong") == 401
    assert len(calls) == 3


def count_bcrypt(monkeypatch):
    calls = []
    check = passwords.bcrypt.checkpw
    monkeypatch.setattr(
        passwords.bcrypt, "checkpw", lambda *args: calls.append(args) or check(*args)
    )
    return calls


@pytest.mark.parametrize("name", ["cheap", "medium", "costly", "nobody", "somebody"])
def test_failure_costs_as_much_as_the_most_expensive_hash_for_every_name(monkeypatch, name):
    hashes = {
        name: password_hash("right", cost).encode()
        for name, cost in {"cheap": 4, "medium": 5, "costly": 7}.items()
    }
    done = []
    for function in ("checkpw", "hashpw"):
        original = getattr(passwords.bcrypt, function)
        monkeypatch.setattr(
            passwords.bcrypt,
            function,
            lambda secret, salt, original=original: (
                done.append(2 ** int(salt[4:6])) or original(secret, salt)
            ),
        )
    assert status_of(Passwords(hashes), name, "wrong") == 401
    assert sum(done) == 2**7


@pytest.mark.parametrize("password", ["x\0y", "\0", "ä"])
def test_odd_passwords_are_wrong_and_no_error(password):
    hashes = {"cheap": HASH.encode(), "costly": password_hash("right", 5).encode()}
    for name in ("cheap", "costly", "nobody"):
        assert status_of(Passwords(hashes), name, password) == 401


def test_memory_holds_no_password(verifier):
    verifier.verify("reader", password_of("reader"), "192.0.2.1", 30)
    assert password_of("reader") not in str(vars(verifier))
    assert Passwords({}).__dict__["_key"] != verifier.__dict__["_key"]


@pytest.mark.parametrize("password", ["x" * 73, "ä" * 37])
def test_password_over_72_bytes_is_refused_without_bcrypt(verifier, monkeypatch, password):
    calls = count_bcrypt(monkeypatch)
    assert status_of(verifier, "reader", password) == 401
    assert calls == []


class SlowBcrypt:
    """Lets each verification begin when it is told to, and tells which one has begun."""

    def __init__(self, check):
        self._check = check
        self._begun, self._go_on = queue.Queue(), threading.Semaphore(0)
        self._running = threading.Lock()

    def __call__(self, password, hash):
        assert self._running.acquire(blocking=False)  # one at a time
        self._begun.put(password.decode())
        self._go_on.acquire(timeout=30)
        self._running.release()
        return self._check(password, hash)

    def begun(self):
        return self._begun.get(timeout=30)

    def go_on(self, number=1):
        self._go_on.release(number)


@pytest.fixture
def slow_bcrypt(monkeypatch):
    slow = SlowBcrypt(passwords.bcrypt.checkpw)
    monkeypatch.setattr(passwords.bcrypt, "checkpw", slow)
    yield slow
    slow.go_on(1000)


class Logins:
    """Logins at once, in threads of their own; ``statuses`` are in the order of their end."""

    def __init__(self, verifier):
        self._verifier = verifier
        self._threads = []
        self.statuses = []

    def start(self, password, address="192.0.2.1", name="reader"):
        """Start a login, and wait until it waits for its turn."""

        def verify():
            self.statuses.append(status_of(self._verifier, name, password, address=address))

        before = len(self._verifier._unfinished)
        thread = threading.Thread(target=verify)
        thread.start()
        self._threads.append(thread)
        wait_until(
            lambda: len(self._verifier._unfinished) > before or not thread.is_alive(), "the login"
        )

    def end(self):
        for thread in self._threads:
            thread.join(30)
        return self.statuses


@pytest.fixture
def logins(verifier, slow_bcrypt):
    return Logins(verifier)


def test_wrong_passwords_delay_no_remembered_one(verifier, slow_bcrypt, logins):
    slow_bcrypt.go_on()
    assert status_of(verifier, "reader", password_of("reader")) == 200
    for number in range(8):
        logins.start(f"wrong{number}")
    assert status_of(verifier, "reader", password_of("reader")) == 200
    slow_bcrypt.go_on(8)
    assert logins.end() == [401] * 8


def test_password_whose_turn_does_not_come_is_502(verifier, slow_bcrypt, logins):
    logins.start("wrong")
    for seconds in (-1, 0, 0.01):
        assert status_of(verifier, "reader", password_of("reader"), seconds) == 502
    slow_bcrypt.go_on(2)
    assert logins.end() == [401]
    # It was verified meanwhile: whoever tries again need not wait.
    wait_until(lambda: status_of(verifier, "reader", password_of("reader"), 0) == 200, "a login")


def test_first_requests_of_an_account_at_once_cost_bcrypt_once(verifier, slow_bcrypt):
    statuses = []
    threads = [
        threading.Thread(
            target=lambda: statuses.append(status_of(verifier, "reader", password_of("reader")))
        )
        for _ in range(200)
    ]
    for thread in threads:
        thread.start()
    slow_bcrypt.go_on()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 200


@pytest.mark.parametrize(
    ("guessers", "address"),
    [
        (["192.0.2.1"] * 40, "192.0.2.2"),
        (["192.0.2.1", "192.0.2.3"] * 20, "192.0.2.2"),
        # One customer has 2**64 addresses.
        ([f"2001:db8::{number:x}" for number in range(40)], "2001:db8:0:1::1"),
        (["::ffff:192.0.2.1"] * 40, "::ffff:192.0.2.2"),
        (["", "unknown"] * 20, "192.0.2.2"),
    ],
)
def test_addresses_take_turns(slow_bcrypt, logins, guessers, address):
    for number, guesser in enumerate(guessers):
        logins.start(f"guess{number}", guesser, f"name{number}")
    logins.start(password_of("reader"), address)
    slow_bcrypt.go_on(4)
    begun = [slow_bcrypt.begun() for _ in range(4)]
    assert password_of("reader") in begun
    wait_until(lambda: 200 in logins.statuses, "the login")
    slow_bcrypt.go_on(len(guessers))
    assert logins.end().count(401) == len(guessers)


def test_bounded_number_waits_for_each_address(verifier, slow_bcrypt, logins):
    logins.start("wrong")
    slow_bcrypt.begun()
    for number in range(128):
        logins.start(f"wrong{number}")
    with pytest.raises(ApiError) as caught:
        verifier.verify("reader", "one more", "192.0.2.1", 30)
    assert (caught.value.status, caught.value.is_refusal) == (502, True)
    assert caught.value.headers["Retry-After"]
    logins.start(password_of("reader"), "192.0.2.2")
    slow_bcrypt.go_on(200)
    assert sorted(logins.end()) == [200] + [401] * 129
    assert status_of(verifier, "reader", "wrong again") == 401
    assert not verifier._waiting


def test_failed_verification_is_an_error_of_its_own_request_only(verifier, monkeypatch):
    monkeypatch.setattr(passwords.bcrypt, "checkpw", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        verifier.verify("reader", "wrong", "192.0.2.1", 30)
    monkeypatch.undo()
    assert status_of(verifier, "reader", password_of("reader")) == 200


GEVENT_PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent, sys, time
sys.path.insert(0, ".")
from dcproxy.auth import passwords
turns = []
def slow(password, hash):
    # As bcrypt: it computes, and no other greenlet runs in its thread.
    monkey.get_original("time", "sleep")(0.5)
    return True
passwords.bcrypt.checkpw = slow
verifier = passwords.Passwords({"reader": b"$2b$04$"})
def others():
    while True:
        turns.append(1)
        gevent.sleep(0.01)
gevent.spawn(others)
# As lookups of names that no server answers.
for _ in range(10):
    gevent.get_hub().threadpool.spawn(monkey.get_original("time", "sleep"), 60)
gevent.spawn(verifier.verify, "reader", "password", "192.0.2.1", 30).join()
print(len(turns), flush=True)
import os
os._exit(0)
"""


def test_event_loop_goes_on_during_a_verification_which_needs_no_thread_of_gevents():
    result = subprocess.run(
        [sys.executable, "-c", GEVENT_PROGRAM], capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5
