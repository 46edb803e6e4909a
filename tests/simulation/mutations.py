"""Mutations: dcproxy with one safety rule removed. The simulation must notice each.

Each is a context manager that patches public names of dcproxy in this process, so they change when
these do; ``patch`` raises if a name is gone.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from dcproxy.ec2 import client
from dcproxy.ec2.client import EC2Client
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import TaggedSnapshot
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating import idempotency, ladder
from dcproxy.operations.creating import snapshot as creation
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


@contextmanager
def _calls(handle: Callable[..., Any]) -> Iterator[None]:
    """Hand each call of EC2 to ``handle``: a function that makes it, the action, the parameters."""
    call = EC2Client.call

    def handled(self: Any, *args: Any, **params: Any) -> Any:
        action = args[-1]
        return handle(lambda: call(self, *args, **params), action, params)

    with patch.object(EC2Client, "call", handled):
        yield


@_mutation("with a key, search for an earlier snapshot before the create")
@contextmanager
def no_search_before() -> Iterator[None]:
    paginate = creation.paginate

    def search_later(call: Any, *args: Any, **params: Any) -> Any:
        is_first = call.request.idempotency_key and not _request().sends
        return iter(()) if is_first else paginate(call, *args, **params)

    with patch.object(creation, "paginate", search_later):
        yield


def _request() -> Any:
    return replica.surroundings().current_request()


@_mutation("with a key, wait until EC2 shows the new snapshot")
@contextmanager
def early_answer() -> Iterator[None]:
    with patch.object(creation, "SHOW_DELAYS", ()):
        yield


@_mutation("with a key, wait for 5 seconds if EC2 does not show it")
@contextmanager
def short_wait() -> Iterator[None]:
    with patch.object(creation, "SHOW_DELAYS", ladder.LOOK_DELAYS):
        yield


@_mutation("with a key, do not send again after a lost response")
@contextmanager
def resent_with_key() -> Iterator[None]:
    carry_out = ladder.carry_out

    def resend(*args: Any, **options: Any) -> Any:
        return carry_out(*args, **options | {"resends_lost": True})

    with patch.object(ladder, "carry_out", resend):
        yield


@_mutation("requests with one key in one worker wait for each other")
@contextmanager
def no_turns() -> Iterator[None]:
    with patch.object(idempotency, "in_turn", lambda call, key: nullcontext()):
        yield


@_mutation("answer with the oldest snapshot of a key")
@contextmanager
def youngest_is_answered() -> Iterator[None]:
    def order(self: Any) -> Any:
        return [-ord(c) for c in self.snapshot.start_time + self.snapshot.id]

    with patch.object(TaggedSnapshot, "creation_order", property(order)):
        yield


@_mutation("a failed snapshot ranks last")
@contextmanager
def failed_ranks_by_age() -> Iterator[None]:
    with patch.object(TaggedSnapshot, "has_failed", False):
        yield


@_mutation("with a key, refuse other parameters")
@contextmanager
def no_parameter_check() -> Iterator[None]:
    create_tags = idempotency.create_tags

    with patch.object(idempotency, "create_tags", lambda call, *_: create_tags(call)):
        yield


@_mutation("search for the snapshot of a lost response before the create is repeated")
@contextmanager
def no_search_after_lost_response() -> Iterator[None]:
    look = ladder.look_repeatedly

    def look_later(call: Any, of: Any, delays: Any) -> Any:
        return (None, True) if delays is ladder.LOOK_DELAYS else look(call, of, delays)

    with patch.object(ladder, "look_repeatedly", look_later):
        yield


@_mutation("do not repeat a create when no search succeeded")
@contextmanager
def repeated_after_failed_search() -> Iterator[None]:
    look = ladder.look_repeatedly

    with patch.object(ladder, "look_repeatedly", lambda *args: (look(*args)[0], True)):
        yield


@_mutation("search once more for a create that was sent more than once")
@contextmanager
def no_last_search() -> Iterator[None]:
    look = ladder.look_repeatedly

    def look_several_times(call: Any, of: Any, delays: Any) -> Any:
        return look(call, of, delays) if len(delays) > 1 else (None, False)

    with patch.object(ladder, "look_repeatedly", look_several_times):
        yield


@_mutation("delete duplicates")
@contextmanager
def no_deletion() -> Iterator[None]:
    def handle(call: Callable[[], Any], action: str, params: Any) -> Any:
        is_ours = action == "DeleteSnapshot" and params.get("is_follow_up")
        return None if is_ours else call()

    with _calls(handle):
        yield


@_mutation("report what may remain")
@contextmanager
def no_report() -> Iterator[None]:
    with patch.object(creation.log, "warning", lambda *args, **options: None):
        yield


@_mutation("end each call and search before the deadline")
@contextmanager
def no_deadline() -> Iterator[None]:
    call = EC2Client.call

    def late(self: Any, region: str, key: Any, log: Any, deadline: float, *a: Any, **p: Any) -> Any:
        return call(self, region, key, log, deadline + 1000, *a, **p)

    with patch.object(EC2Client, "call", late), patch.object(ApiCall, "seconds_left", 1000.0):
        yield


@_mutation("send a create without tags once")
@contextmanager
def untagged_create_repeated() -> Iterator[None]:
    def handle(call: Callable[[], Any], action: str, params: Any) -> Any:
        try:
            return call()
        except EC2Error as error:
            is_untagged = action == "CreateSnapshot" and "TagSpecifications" not in params
            if not is_untagged or error.outcome is not Outcome.UNKNOWN:
                raise
            return call()

    with _calls(handle):
        yield


@_mutation("a lost response may be that of a create that was carried out")
@contextmanager
def lost_response_is_refusal() -> Iterator[None]:
    def handle(call: Callable[[], Any], action: str, params: Any) -> Any:
        try:
            return call()
        except EC2Error as error:
            if action == "CreateSnapshot" and error.outcome is Outcome.UNKNOWN:
                error.outcome = Outcome.NOT_SENT
            raise

    with _calls(handle):
        yield


@_mutation("say that the outcome is unknown")
@contextmanager
def no_unknown_response() -> Iterator[None]:
    with patch.object(ladder, "unknown_outcome", lambda *args, **options: nullcontext()):
        yield


@_mutation("without a key, only its own snapshots are those of a request")
@contextmanager
def no_filter() -> Iterator[None]:
    create_tags = idempotency.create_tags

    def shared(call: Any, *parameters: str) -> Any:
        tags = create_tags(call, *parameters)
        return tags if call.request.idempotency_key else tags | {idempotency.CREATE_TAG: "a"}

    with patch.object(idempotency, "create_tags", shared):
        yield


@_mutation("send no create for a client that has left")
@contextmanager
def no_client_check() -> Iterator[None]:
    with patch.object(idempotency, "require_client", lambda call, kind: None):
        yield


@_mutation("sign each call with the key of its own caller")
@contextmanager
def shared_credentials() -> Iterator[None]:
    call, sending = EC2Client.call, client.sending
    last: list[Any] = []

    def remember(self: Any, region: str, access_key: Any, *args: Any, **params: Any) -> Any:
        last[:] = [access_key]
        return call(self, region, access_key, *args, **params)

    with (
        patch.object(EC2Client, "call", remember),
        # The key of whichever call came last.
        patch.object(client, "sending", lambda access_key: sending(last[0])),
    ):
        yield
