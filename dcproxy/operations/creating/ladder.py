"""Calls that EC2 may carry out although their response is lost: send, look, then answer or resend.

Creates of snapshots, attaches and detaches are carried out in this way.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from dcproxy.deltacloud.errors import RETRY_AFTER, ApiError
from dcproxy.ec2.client import back_off
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import api_error

Effect = TypeVar("Effect")

LOOK_DELAYS = (0.5, 1.0, 2.0)
"""Seconds before each look for the effect of a lost call: EC2's reads lag."""

RESERVED_SECONDS = 8.0
"""Time reserved at the end of the deadline to look for the effect."""

log = logging.getLogger(__name__)


def carry_out(
    call: ApiCall,
    send: Callable[[ApiCall], Effect],
    look: Callable[[EC2Error], Effect | None],
    *,
    resends_lost: bool = True,
) -> tuple[Effect, int]:
    """Send a call until EC2 has carried it out, has refused it, or the deadline is near.

    ``send`` makes one attempt, with a call that ends early enough for looks. Once a response was
    lost, looks follow each failed attempt: ``look`` is given the error, and returns the effect, or
    None when EC2 does not show it. The call is sent again only when EC2 has answered a look and
    shown no effect, and without ``resends_lost`` not even then. Returns the effect, and the number
    of attempts that may have had it. Raises the last ``EC2Error``, whose ``may_have_effect`` tells
    of all attempts.
    """
    sending = replace(call, deadline=call.deadline - RESERVED_SECONDS)
    lost = attempt = 0
    while True:
        attempt += 1
        try:
            return send(sending), lost + 1
        except EC2Error as error:
            pause = back_off(call.runtime, attempt)
            may_resend = error.may_be_repeated
            error.earlier_response_lost = lost > 0
            lost += error.outcome is Outcome.UNKNOWN
            if lost:
                effect, has_looked = look_repeatedly(call, partial(look, error), LOOK_DELAYS)
                if effect is not None:
                    return effect, lost
                may_resend &= has_looked and resends_lost
            is_last = attempt >= call.settings.retry_attempts or pause >= sending.seconds_left
            if is_last or not may_resend:
                raise
        call.runtime.sleep(pause)
        call.log.retries += 1


def look_repeatedly(
    call: ApiCall, look: Callable[[], Effect | None], delays: Iterable[float]
) -> tuple[Effect | None, bool]:
    """Look after each delay until there is an effect; tell also whether EC2 answered any look."""
    effect, has_looked = None, False
    for delay in delays:
        if effect is not None or delay > call.seconds_left:
            break
        call.runtime.sleep(delay)
        try:
            effect, has_looked = look(), True
        except EC2Error as error:
            request = {"request_id": call.log.request_id}
            log.warning("cannot look for the effect of a call: %s", error, extra=request)
    return effect, has_looked


@contextmanager
def unknown_outcome(effect: str, *, is_repeatable: bool = True) -> Iterator[None]:
    """Raise a 502 ``ApiError`` in place of an ``EC2Error`` after which an effect is unknown.

    ``effect`` says which one, and how to find out. Without ``is_repeatable``, a repeated request
    would have it once more.
    """
    try:
        yield
    except EC2Error as error:
        if not error.may_have_effect:
            raise
        cause = api_error(error)
        message = f"{cause.message} It is not known whether EC2 has {effect}."
        retry_after = RETRY_AFTER if is_repeatable else None
        raise ApiError(502, message, code=cause.code, retry_after=retry_after) from error
