"""Files of accounts, and the verification of passwords."""

import subprocess
import sys
import threading

import pytest

from dcproxy.auth import passwords
from dcproxy.auth.passwords import Passwords, read_passwords
from dcproxy.deltacloud.errors import ApiError
from dcproxy.settings import SettingError
from tests.support.accounts import htpasswd_line, password_hash, password_of

LINE = htpasswd_line("reader")
HASH = password_hash(password_of("reader"))


@pytest.fixture
def verifier():
    return Passwords({"reader": HASH.encode()})


def status_of(verifier, name, password, seconds=30):
    try:
        verifier.verify(name, password, "192.0.2.1", seconds)
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


def test_unknown_name_costs_the_verification_of_another_account(monkeypatch):
    hashes = {"cheap": password_hash("a").encode(), "costly": password_hash("b").encode()}
    calls = count_bcrypt(monkeypatch)
    verifier = Passwords(hashes)
    for number in range(20):
        assert status_of(verifier, f"nobody{number}", "a") == 401
        assert status_of(verifier, f"nobody{number}", "b") == 401
    verified = [hash for _, hash in calls]
    assert set(verified) == set(hashes.values())
    assert verified[0::2] == verified[1::2]  # always the same one for a name


def test_memory_holds_no_password(verifier):
    verifier.verify("reader", password_of("reader"), "192.0.2.1", 30)
    assert password_of("reader") not in str(vars(verifier))
    assert Passwords({}).__dict__["_key"] != verifier.__dict__["_key"]


@pytest.mark.parametrize("password", ["x" * 73, "ä" * 37])
def test_password_over_72_bytes_is_refused_without_bcrypt(verifier, monkeypatch, password):
    calls = count_bcrypt(monkeypatch)
    assert status_of(verifier, "reader", password) == 401
    assert calls == []


@pytest.fixture
def slow_bcrypt(monkeypatch):
    """Let bcrypt wait, and give how many run, whether each has begun, and what lets them go on."""
    begun, go_on, running = threading.Semaphore(0), threading.Event(), []
    check = passwords.bcrypt.checkpw

    def slow(password, hash):
        running.append(password)
        begun.release()
        go_on.wait(30)
        assert len(running) == 1
        running.remove(password)
        return check(password, hash)

    monkeypatch.setattr(passwords.bcrypt, "checkpw", slow)
    return begun, go_on


def verify_at_once(verifier, password, number):
    statuses = []

    def verify():
        statuses.append(status_of(verifier, "reader", password))

    threads = [threading.Thread(target=verify) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads, statuses


def test_wrong_passwords_are_verified_one_at_a_time_and_delay_no_remembered_one(
    verifier, slow_bcrypt
):
    begun, go_on = slow_bcrypt
    go_on.set()
    assert status_of(verifier, "reader", password_of("reader")) == 200
    go_on.clear()
    threads, statuses = verify_at_once(verifier, "wrong", 8)
    begun.acquire(timeout=30)
    assert status_of(verifier, "reader", password_of("reader")) == 200
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert statuses == [401] * 8


def test_password_whose_turn_does_not_come_is_502(verifier, slow_bcrypt):
    begun, go_on = slow_bcrypt
    threads, statuses = verify_at_once(verifier, "wrong", 1)
    begun.acquire(timeout=30)
    for seconds in (-1, 0, 0.01):
        assert status_of(verifier, "reader", password_of("reader"), seconds) == 502
    go_on.set()
    threads[0].join(30)
    assert statuses == [401]


def test_first_requests_of_an_account_at_once_cost_bcrypt_once(verifier, monkeypatch, slow_bcrypt):
    begun, go_on = slow_bcrypt
    calls = count_bcrypt(monkeypatch)
    threads, statuses = verify_at_once(verifier, password_of("reader"), 32)
    begun.acquire(timeout=30)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 32
    assert len(calls) == 1


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
verifier = passwords.Passwords({"reader": b"hash"})
def others():
    while True:
        turns.append(1)
        gevent.sleep(0.01)
gevent.spawn(others)
gevent.spawn(verifier.verify, "reader", "password", "192.0.2.1", 30).join()
print(len(turns))
"""


def test_event_loop_of_gevent_goes_on_during_a_verification():
    pytest.importorskip("gevent")
    result = subprocess.run(
        [sys.executable, "-c", GEVENT_PROGRAM], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5
