"""Calls of EC2 that may lose their response: send, look, then repeat, answer or say it is unknown.

Creates of snapshots, attaches and detaches are carried out in this way.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from dcproxy.deltacloud.errors import ApiError
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
    unknown: Callable[[EC2Error], ApiError],
    *,
    resends_lost: bool = True,
) -> Effect:
    """Send a call until EC2 has carried it out, has refused it, or the deadline is near.

    ``send`` makes one attempt. After a lost response, ``look`` is given the last error; it returns
    the effect, or None when EC2 does not show it. Only when EC2 has answered a look, and shown no
    effect, the call is sent again, and without ``resends_lost`` not even then. Raises ``EC2Error``
    when it is certain that there is no effect, else what ``unknown`` makes of the last error.
    """
    sending = replace(call, deadline=call.deadline - RESERVED_SECONDS)
    is_lost = False
    attempt = 0
    while True:
        attempt += 1
        try:
            return send(sending)
        except EC2Error as error:
            pause = back_off(call.runtime, attempt)
            may_resend = error.may_be_repeated
            is_lost |= error.outcome is Outcome.UNKNOWN
            if is_lost:
                effect, has_looked = look_repeatedly(call, partial(look, error), LOOK_DELAYS)
                if effect is not None:
                    return effect
                may_resend &= has_looked and resends_lost
            if (
                not may_resend
                or attempt >= call.settings.retry_attempts
                or pause >= sending.seconds_left
            ):
                if is_lost:
                    raise unknown(error) from error
                raise
        call.runtime.sleep(pause)
        call.log.retries += 1


def look_repeatedly(
    call: ApiCall, look: Callable[[], Effect | None], delays: Iterable[float]
) -> tuple[Effect | None, bool]:
    """Look after each delay until there is an effect; tell also whether EC2 answered any look."""
    has_looked = False
    for delay in delays:
        if delay > call.seconds_left:
            break
        call.runtime.sleep(delay)
        try:
            effect = look()
        except EC2Error as error:
            request = {"request_id": call.log.request_id}
            log.warning("cannot look for the effect of a call: %s", error, extra=request)
        else:
            has_looked = True
            if effect is not None:
                return effect, True
    return None, has_looked


def unknown_outcome(error: EC2Error, effect: str, retry_after: int | None) -> ApiError:
    """Build the 502 for a call of EC2 of which it is unknown whether it had an effect.

    ``effect`` says which, and how to find out. ``retry_after`` is None where a repeated request
    would have the effect once more.
    """
    cause = api_error(error)
    message = f"{cause.message} It is not known whether EC2 has {effect}."
    return ApiError(502, message, code=cause.code, retry_after=retry_after)
