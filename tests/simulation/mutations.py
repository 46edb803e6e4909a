"""Mutations: dcproxy with one safety rule removed. The simulation must notice each.

Each is a context manager that patches dcproxy in this process. They name what they patch in
dcproxy, so they change when it does; ``patch`` raises if a name is gone. They import dcproxy when
they are applied, so that a module that has moved breaks no other run.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from tests.simulation import replica


@dataclass(frozen=True, slots=True)
class Mutation:
    """``rule`` says what is removed."""

    rule: str
    apply: Callable[[], AbstractContextManager[object]]


MUTATIONS: dict[str, Mutation] = {}


def _mutation(rule: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(apply: Callable[[], Any]) -> Callable[[], Any]:
        MUTATIONS[apply.__name__.lstrip("_").replace("_", "-")] = Mutation(rule, apply)
        return apply

    return register


@_mutation("look for earlier snapshots of the key before a create")
@contextmanager
def no_look_before() -> Iterator[None]:
    from dcproxy.operations import creation

    look = creation._look

    def blind(call: Any, token: Any) -> Any:
        return look(call, token) if replica.surroundings().current_request().sends else []

    with patch.object(creation, "_look", blind):
        yield


@_mutation("look for others' snapshots after a create with a key")
@contextmanager
def no_settling() -> Iterator[None]:
    from dcproxy.operations import creation

    with patch.object(creation, "SETTLE_PAUSES", ()):
        yield


@_mutation("look for the snapshot after a lost answer")
@contextmanager
def no_look_after_lost_answer() -> Iterator[None]:
    from dcproxy.operations import creation

    with patch.object(creation, "_gather", lambda *args, **kwargs: True):
        yield


@_mutation("the oldest snapshot of a key stays")
@contextmanager
def no_ranking() -> Iterator[None]:
    from dcproxy.operations import creation

    def keep_the_newest(call: Any, token: Any, found: Any) -> Any:
        newest_first = sorted(found.values(), key=creation._age, reverse=True)
        for tagged in filter(token.has_made, newest_first[1:]):
            creation._delete(call, tagged.snapshot.id)
        return creation._oldest(newest_first, token)

    with patch.object(creation, "_leave_the_oldest", keep_the_newest):
        yield


@_mutation("delete duplicates at all")
@contextmanager
def no_deletion() -> Iterator[None]:
    from dcproxy.operations import creation

    with patch.object(creation, "_delete", lambda call, id: None):
        yield


@_mutation("delete only what this request has made")
@contextmanager
def no_tag_check() -> Iterator[None]:
    from dcproxy.operations import creation

    with patch.object(creation.Token, "has_made", lambda self, tagged: True):
        yield


@_mutation("look for the tag of this create only")
@contextmanager
def no_filter() -> Iterator[None]:
    from dcproxy.operations import creation

    look = creation._look

    def everything(call: Any, token: Any) -> Any:
        return look(call, creation.Token("*", token.value, token.request, token.is_keyed))

    with patch.object(creation, "_look", everything):
        yield


@_mutation("compare the parameters of a key")
@contextmanager
def no_parameter_check() -> Iterator[None]:
    from dcproxy.operations import creation

    with patch.object(creation, "_oldest", lambda oldest_first, token: oldest_first[0].snapshot):
        yield


@_mutation("say that the outcome is unknown")
@contextmanager
def no_unknown_answer() -> Iterator[None]:
    from dcproxy.operations import creation

    with patch.object(creation, "_unknown", lambda error, token: error):
        yield


@_mutation("take a lost answer for a create that may have happened")
@contextmanager
def lost_answer_is_refusal() -> Iterator[None]:
    from dcproxy.operations import creation

    send = creation._send

    def forgetful(*args: Any) -> Any:
        try:
            return send(*args)
        except creation.DeltacloudError as error:
            if not error.is_refusal:
                error.is_refusal = error.is_passing = True
            raise

    with patch.object(creation, "_send", forgetful):
        yield


class _Shared:
    """Has the interface of a ContextVar, and one value for all."""

    def __init__(self) -> None:
        self._value: Any = None

    def get(self) -> Any:
        return self._value

    def set(self, value: Any) -> Any:
        before, self._value = self._value, value
        return before

    def reset(self, before: Any) -> None:
        self._value = before


@_mutation("credentials per request")
@contextmanager
def shared_credentials() -> Iterator[None]:
    from dcproxy import ec2

    # Read outside the context of the request: of whoever came last.
    last = _Shared()
    exchange = ec2._exchange
    call = ec2.EC2.call

    def remember(self: Any, region: str, credentials: Any, *args: Any, **kwargs: Any) -> bytes:
        last.set(credentials)
        return call(self, region, credentials, *args, **kwargs)

    def frozen(self: Any) -> Any:
        if exchange.get() is None:
            raise ec2.NoCredentialsError
        caller = last.get()
        return ec2.ReadOnlyCredentials(caller.access_key_id, caller.secret_access_key, None)

    with (
        patch.object(ec2.EC2, "call", remember),
        patch.object(ec2._CallersKeys, "get_frozen_credentials", frozen),
    ):
        yield
