"""Mutations: dcproxy with one safety rule removed. The simulation must notice each.

Each is a context manager that patches dcproxy in this process. They name what they patch in
dcproxy, so they change when it does; ``patch`` raises if a name is gone.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import dcproxy.app
from dcproxy.ec2 import client
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.operations.creating import sightings as sightings_module
from dcproxy.operations.creating import snapshot as creation
from dcproxy.operations.creating.idempotency import Token
from dcproxy.operations.creating.sightings import Sightings
from dcproxy.operations.translation import api_error
from tests.simulation import replica


@dataclass(frozen=True, slots=True)
class Mutation:
    """``rule`` says what is removed."""

    rule: str
    apply: Callable[[], AbstractContextManager[object]]


MUTATIONS: dict[str, Mutation] = {}


def _mutation(rule: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(apply: Callable[[], Any]) -> Callable[[], Any]:
        MUTATIONS[apply.__name__.replace("_", "-")] = Mutation(rule, apply)
        return apply

    return register


@_mutation("with a key, search for an earlier snapshot before the create")
@contextmanager
def no_search_before() -> Iterator[None]:
    search = creation._search

    def search_later(context: Any, token: Any) -> Any:
        is_first = token.is_keyed and not replica.surroundings().current_request().sends
        return [] if is_first else search(context, token)

    with patch.object(creation, "_search", search_later):
        yield


@_mutation("with a key, wait after a create until no older snapshot can appear")
@contextmanager
def no_settling() -> Iterator[None]:
    def has_own(sightings: Any, sends: int) -> bool:
        return bool(sightings.own_count >= sends > 0)

    with patch.object(creation, "_has_all", has_own):
        yield


@_mutation("with a key, wait the same time when an earlier snapshot is found")
@contextmanager
def early_answer() -> Iterator[None]:
    has_all = creation._has_all

    with patch.object(
        creation, "_has_all", lambda sightings, sends: not sends or has_all(sightings, sends)
    ):
        yield


@_mutation("wait as long as the lags of EC2's reads may differ")
@contextmanager
def short_settling() -> Iterator[None]:
    with patch.object(sightings_module, "SETTLE_SECONDS", 0.5):
        yield


@_mutation("the oldest snapshot stays")
@contextmanager
def youngest_stays() -> Iterator[None]:
    def youngest(self: Any) -> Any:
        return max(
            self.usable or self._snapshots.values(), key=lambda tagged: tagged.creation_order
        )

    with patch.object(Sightings, "best", property(youngest)):
        yield


@_mutation("a failed snapshot ranks last")
@contextmanager
def failed_ranks_by_age() -> Iterator[None]:
    with patch.object(Sightings, "best", Sightings.oldest):
        yield


@_mutation("with a key, do not answer another request's recent snapshot if an older one failed")
@contextmanager
def answer_of_another_in_progress() -> Iterator[None]:
    with patch.object(creation, "RECENT_SECONDS", -math.inf):
        yield


@_mutation("delete duplicates")
@contextmanager
def no_deletion() -> Iterator[None]:
    with patch.object(creation, "_delete", lambda context, id: True):
        yield


@_mutation("delete only what this request has made")
@contextmanager
def no_tag_check() -> Iterator[None]:
    with patch.object(Token, "made", lambda self, tagged: True):
        yield


@_mutation("search for the tag of this create only")
@contextmanager
def no_filter() -> Iterator[None]:
    with (
        patch.object(Token, "filter", property(lambda self: "*")),
        patch.object(Token, "matches", lambda self, tagged: True),
    ):
        yield


@_mutation("with a key, refuse other parameters")
@contextmanager
def no_parameter_check() -> Iterator[None]:
    create_token = creation.create_token

    with patch.object(creation, "create_token", lambda context, _: create_token(context, ())):
        yield


@_mutation("end each call and search before the deadline")
@contextmanager
def no_deadline() -> Iterator[None]:
    with patch.object(dcproxy.app, "_RESPONSE_SECONDS", -1000.0):
        yield


@_mutation("send a create without tags once")
@contextmanager
def untagged_create_repeated() -> Iterator[None]:
    send = creation._send

    def send_twice(context: Any, params: Any, tags: Any) -> Any:
        try:
            return send(context, params, tags)
        except EC2Error as error:
            if tags or error.outcome is not Outcome.UNKNOWN:
                raise
            return send(context, params, tags)

    with patch.object(creation, "_send", send_twice):
        yield


@_mutation("search for the snapshot of a lost response before the create is repeated")
@contextmanager
def no_search_after_lost_response() -> Iterator[None]:
    look = creation._look

    def look_later(context: Any, sightings: Any, delays: Any, sends: int) -> float:
        is_lost = delays is creation.LOOK_DELAYS
        return 0.0 if is_lost else look(context, sightings, delays, sends)

    with patch.object(creation, "_look", look_later):
        yield


@_mutation("do not repeat a create when no search succeeded")
@contextmanager
def repeated_after_failed_search() -> Iterator[None]:
    look = creation._look

    def look_in_vain(context: Any, sightings: Any, delays: Any, sends: int) -> float:
        searched_at = look(context, sightings, delays, sends)
        return 0.0 if delays is creation.LOOK_DELAYS else searched_at

    with patch.object(creation, "_look", look_in_vain):
        yield


@_mutation("look until the snapshot of every create that was sent is found")
@contextmanager
def lost_creates_not_counted() -> Iterator[None]:
    def all_if_any(self: Any) -> int:
        return 99 if self._own_ids else 0

    with patch.object(Sightings, "own_count", property(all_if_any)):
        yield


@_mutation("a lost response may be that of a create that was carried out")
@contextmanager
def lost_response_is_refusal() -> Iterator[None]:
    send = creation._send

    def forgetful(*args: Any) -> Any:
        try:
            return send(*args)
        except EC2Error as error:
            if error.outcome is Outcome.UNKNOWN:
                error.outcome = Outcome.NOT_SENT
            raise

    with patch.object(creation, "_send", forgetful):
        yield


@_mutation("say that the outcome is unknown")
@contextmanager
def no_unknown_response() -> Iterator[None]:
    with patch.object(creation, "_unknown", lambda error, token: api_error(error)):
        yield


@_mutation("send no create for a client that has left")
@contextmanager
def no_client_check() -> Iterator[None]:
    with patch.object(creation, "require_client", lambda context, kind: None):
        yield


@_mutation("look for duplicates after the response of a create that is not settled")
@contextmanager
def no_background_looks() -> Iterator[None]:
    with patch.object(creation, "BACKGROUND_DELAYS", ()):
        yield


@_mutation("sign each call with the key of its own caller")
@contextmanager
def shared_credentials() -> Iterator[None]:
    call, signed_with = client.EC2Client.call, client.signed_with
    last: list[Any] = []

    def remember(self: Any, region: str, access_key: Any, *args: Any, **kwargs: Any) -> Any:
        last[:] = [access_key]
        return call(self, region, access_key, *args, **kwargs)

    with (
        patch.object(client.EC2Client, "call", remember),
        # The key of whichever call came last.
        patch.object(client, "signed_with", lambda access_key: signed_with(last[0])),
    ):
        yield
