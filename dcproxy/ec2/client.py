"""One call of EC2: the parsed native response, or an ``EC2Error``."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import xform_name
from botocore.client import BaseClient
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from tenacity import RetryCallState, Retrying, retry_if_exception

from dcproxy.ec2.errors import EXPIRED_CODES, EC2Error, Outcome, outcome_of_response
from dcproxy.ec2.reader import UnreadableError
from dcproxy.ec2.session import (
    AccessKey,
    callers_session,
    new_client,
    parsed_error,
    request_id,
    signed_with,
)
from dcproxy.ec2.time_limit import time_limit
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.settings import Settings, setting_error

Result = TypeVar("Result")

_MAX_BACKOFF = 8.0

_LONG_RESPONSE_BYTES = 100_000

_SHORTEST_ATTEMPT = 0.1
"""Seconds that an attempt needs at least: with less time left it is not begun."""

_NOT_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)
"""Errors of botocore after which nothing of the request has reached EC2."""

_FAILURES: dict[type[Exception], str] = {
    ConnectTimeoutError: "did not accept the connection in time",
    ReadTimeoutError: "did not respond in time",
    EndpointConnectionError: "cannot be reached",
    ConnectionClosedError: "closed the connection",
    ProxyConnectionError: "cannot be reached: the proxy on the way to it does not respond",
    SSLError: "has a TLS certificate that cannot be verified",
}


class EC2Client:
    """Native EC2 in every region, with the access key of one caller per call.

    ``hosts`` maps each region to the host name of its endpoint. ``record_call`` is told the action
    and the result of each call: ``ok``, ``refused``, ``throttled`` or ``failed``.
    ``regions_without_tags`` are those that were found to ignore the tags of a create. Raises
    ``SettingError`` when the default provider is not a region of EC2.
    """

    def __init__(
        self, settings: Settings, runtime: Runtime, record_call: Callable[[str, str], None]
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._record_call = record_call
        session = callers_session()
        self._session = boto3.Session(botocore_session=session)
        self._clients: dict[str, BaseClient] = {}
        self._clients_lock = threading.Lock()
        self._long_response = threading.Lock()
        self.regions_without_tags: set[str] = set()
        self.hosts = _hosts(session, settings)
        if settings.provider not in self.hosts:
            raise setting_error(
                "provider", settings.provider, f"one of the regions {', '.join(self.hosts)}"
            )
        # Before the first request, which would have to wait for it.
        self._client(settings.provider)

    def call(
        self,
        region: str,
        access_key: AccessKey,
        request_log: RequestLog,
        deadline: float,
        parse: Callable[[bytes], Result],
        action: str,
        *,
        is_repeatable: bool = True,
        **params: Any,
    ) -> Result:
        """Call ``action`` with ``params``, both named as in the EC2 API reference.

        ``parse`` reads the native XML of the response; ``request_log`` records the attempts. A
        repeatable call is repeated until EC2 carries it out or refuses it, at most
        ``retry_attempts`` times in all. It ends before ``deadline``, a time of
        ``Runtime.monotonic``. Raises ``EC2Error``.
        """
        method = getattr(self._client(region), xform_name(action))

        def attempt() -> Result:
            left = deadline - self._runtime.monotonic()
            if left < _SHORTEST_ATTEMPT:
                message = f"EC2 in {region} was not called: the deadline of the request has passed."
                raise EC2Error(message, Outcome.NOT_SENT)
            with signed_with(access_key), time_limit(left) as limit:
                try:
                    result = method(**params)
                    request_log.ec2_request_ids.extend(request_id(result))
                    return self._parsed(parse, result["NativeXML"])
                except Exception as error:
                    if isinstance(error, ClientError):
                        request_log.ec2_request_ids.extend(request_id(error.response))
                    raise _ec2_error(error, region, access_key, limit.has_expired) from error

        with self._recording(action):
            return self._repeating(attempt, request_log, deadline) if is_repeatable else attempt()

    def _parsed(self, parse: Callable[[bytes], Result], response: bytes) -> Result:
        if len(response) < _LONG_RESPONSE_BYTES:
            return parse(response)
        # A page keeps the processor for ten milliseconds: between two, others have their turn.
        with self._long_response:
            self._runtime.sleep(0)
            return parse(response)

    def _repeating(
        self, attempt: Callable[[], Result], request_log: RequestLog, deadline: float
    ) -> Result:
        runtime = self._runtime
        is_lost = False

        def should_repeat(error: BaseException) -> bool:
            nonlocal is_lost
            if not isinstance(error, EC2Error):
                return False
            error.earlier_response_lost = is_lost
            is_lost |= error.outcome is Outcome.UNKNOWN
            return error.outcome is not Outcome.REFUSED

        def is_last(state: RetryCallState) -> bool:
            next_attempt = runtime.monotonic() + state.upcoming_sleep + _SHORTEST_ATTEMPT
            return state.attempt_number >= self._settings.retry_attempts or next_attempt > deadline

        def count_retry(state: RetryCallState) -> None:
            request_log.retries += 1

        retrying = Retrying(
            sleep=runtime.sleep,
            wait=lambda state: back_off(runtime, state.attempt_number),
            stop=is_last,
            retry=retry_if_exception(should_repeat),
            before_sleep=count_retry,
            reraise=True,
        )
        return retrying(attempt)

    @contextmanager
    def _recording(self, action: str) -> Iterator[None]:
        result = "ok"
        try:
            yield
        except EC2Error as error:
            known = error.outcome in {Outcome.REFUSED, Outcome.THROTTLED}
            result = error.outcome.value if known else "failed"
            raise
        finally:
            self._record_call(action, result)

    def _client(self, region: str) -> BaseClient:
        with self._clients_lock:
            client = self._clients.get(region)
            if client is None:
                client = new_client(self._session, self._settings, region)
                self._clients[region] = client
            return client


def back_off(runtime: Runtime, attempt: int) -> float:
    """Return the random number of seconds to wait after an attempt, the first one being 1."""
    return runtime.random.uniform(0, min(2.0 ** (attempt - 1), _MAX_BACKOFF))


def _ec2_error(
    error: Exception, region: str, access_key: AccessKey, limit_has_expired: bool
) -> EC2Error:
    """Classify what botocore or the parser raised."""
    if isinstance(error, ClientError):
        code, message, status = parsed_error(error.response)
        if not code:
            message = f"EC2 in {region} responded with status {status} and no error code."
        if code in EXPIRED_CODES and access_key.session_token:
            code = "ExpiredToken"
            message = (
                f"{message} The session token has expired, or the clock of this server is wrong."
            )
        return EC2Error(
            message or "EC2 sent no message.",
            outcome_of_response(code, status),
            code=code,
            http_status=status,
        )
    if limit_has_expired:
        what = "did not respond before the deadline of the request"
    elif isinstance(error, UnreadableError):
        what = f"sent a response that cannot be read: {error}"
    elif isinstance(error, BotoCoreError):
        what = _FAILURES.get(type(error), "could not be called")
    else:
        # botocore raises errors of many types for error documents that it cannot parse.
        what = "sent a response that cannot be read"
    outcome = Outcome.NOT_SENT if isinstance(error, _NOT_SENT) else Outcome.UNKNOWN
    return EC2Error(f"EC2 in {region} {what}.", outcome)


def _hosts(session: botocore.session.Session, settings: Settings) -> dict[str, str]:
    """Map each region that botocore knows, and each configured one, to its EC2 host.

    A client of botocore applies the same rules, but takes ten milliseconds to create.
    """
    partitions = session.get_data("partitions")
    rules = session.get_component("data_loader").load_service_model("ec2", "endpoint-rule-set-1")
    endpoints = EndpointProvider(rules, partitions)
    regions = set(settings.regions)
    for partition in partitions["partitions"]:
        regions.update(session.get_available_regions("ec2", partition["id"]))
        # Names such as aws-global do not match: EC2 has no endpoint there.
        regions.update(filter(re.compile(partition["regionRegex"]).fullmatch, partition["regions"]))
    # Requests name regions in any case.
    if len({region.lower() for region in regions}) < len(regions):
        raise setting_error(
            "regions",
            ", ".join(settings.regions),
            "names that differ from each other, and from those of AWS, in more than their case",
        )
    url = settings.ec2_endpoint_url
    return {
        region: urlsplit(url or endpoints.resolve_endpoint(Region=region).url).netloc
        for region in sorted(regions)
    }
