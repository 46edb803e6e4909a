"""One call of EC2: the parsed native response, or an ``EC2Error``."""

import re
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import gevent
from botocore import xform_name
from botocore.client import BaseClient
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import ClientError
from gevent import monkey

from dcproxy.ec2 import errors
from dcproxy.ec2.connection import use_connections
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.session import (
    AccessKey,
    builtin_models,
    callers_session,
    check_ca_bundle,
    new_client,
    request_id,
    sending,
)
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.settings import Settings, setting_error

Result = TypeVar("Result")

_MAX_BACKOFF = 8.0
_LONG_RESPONSE_BYTES = 100_000
_HUGE_RESPONSE_BYTES = 2_000_000
_MANY_ITEMS = 5_000
"""More than a page of 1,000 snapshots usually has: it is read beside gevent's event loop."""

_SHORTEST_ATTEMPT = 0.1  # seconds: with less time left it is not begun
_LONGEST_WAIT = 10.0  # seconds that an attempt waits for a slot
_MAX_ACCEPTED_KEYS = 10_000


class EC2Client:
    """Native EC2 in every region, with the access key of one caller per call.

    ``hosts`` maps each region to the host name of its endpoint. ``record_call`` is told the action
    and the result of each call: ``ok``, ``refused``, ``throttled`` or ``failed``;
    ``record_refusal`` is told ``key`` or ``worker`` when no slot became free. Raises
    ``SettingError`` when the default provider is not a region of EC2, and for a file of
    certificates that cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        record_call: Callable[[str, str], None],
        record_refusal: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._record_call = record_call
        share = max(1, settings.capacity * settings.share_per_key // 100)
        self._slots = _Slots(settings.capacity, share, record_refusal)
        self._accepted_keys: dict[int, None] = {}
        check_ca_bundle()
        self._clients: dict[str, BaseClient] = {}
        self._clients_lock = threading.Lock()
        self._long_response = threading.Lock()
        self.hosts = _hosts(settings)
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
        is_follow_up: bool = False,
        **params: Any,
    ) -> Result:
        """Call ``action`` with ``params``, both named as in the EC2 API reference.

        ``parse`` reads the native XML of the response; ``request_log`` records the attempts. A
        repeatable call is repeated until EC2 carries it out or refuses it, at most
        ``retry_attempts`` times in all. It ends before ``deadline``, a time of
        ``Runtime.monotonic``. Each attempt takes a slot, one of their own for those that
        ``is_follow_up``: looks and deletes after a sent create. Raises ``EC2Error``.
        """
        runtime = self._runtime
        send = partial(getattr(self._client(region), xform_name(action)), **params)
        is_lost, number = False, 0
        while True:
            number += 1
            # Invented keys are one caller: else each would be another.
            is_known = access_key.is_trusted or hash(access_key) in self._accepted_keys
            caller = access_key if is_known else None
            wait = min(_LONGEST_WAIT, self._settings.deadline / 4, deadline - runtime.monotonic())
            try:
                with self._slots.one(caller, wait, is_follow_up=is_follow_up):
                    result = self._attempt(send, region, access_key, request_log, deadline, parse)
            except EC2Error as error:
                error.earlier_response_lost = is_lost
                is_lost |= error.outcome is Outcome.UNKNOWN
                pause = back_off(runtime, number)
                if not (
                    is_repeatable
                    and error.may_be_repeated
                    and number < self._settings.retry_attempts
                    and runtime.monotonic() + pause + _SHORTEST_ATTEMPT <= deadline
                ):
                    if not error.limit:
                        result_of_call = error.outcome.value if error.is_refusal else "failed"
                        self._record_call(action, result_of_call)
                    raise
            else:
                self._record_call(action, "ok")
                return result
            runtime.sleep(pause)
            request_log.retries += 1

    def _attempt(
        self,
        send: partial[dict[str, Any]],
        region: str,
        access_key: AccessKey,
        request_log: RequestLog,
        deadline: float,
        parse: Callable[[bytes], Result],
    ) -> Result:
        url = self._client(region).meta.endpoint_url
        left = deadline - self._runtime.monotonic()
        if left < _SHORTEST_ATTEMPT:
            message = f"EC2 in {region} was not called: the deadline of the request has passed."
            raise EC2Error(message, Outcome.NOT_SENT, cause="deadline: no time left")
        with sending(access_key) as request, self._runtime.time_limit(left) as limit:
            try:
                response = send()
                request_log.ec2_request_ids.extend(request_id(response))
                result = self._parsed(parse, response["NativeXML"])
            except ClientError as error:
                request_log.ec2_request_ids.extend(request_id(error.response))
                now = self._runtime.unix_time()
                raise errors.refusal(error, region, access_key, now, send.keywords) from error
            except gevent.Timeout as expired:
                if expired is not limit:
                    raise
                raise errors.expired(region, url, is_sent=request.has_begun) from None
            except Exception as error:
                raise errors.failure(error, region, url, is_sent=request.has_begun) from error
        # The hash keeps no secret, and differs between processes.
        self._accepted_keys[hash(access_key)] = None
        if len(self._accepted_keys) > _MAX_ACCEPTED_KEYS:
            self._accepted_keys.pop(next(iter(self._accepted_keys)), None)
        return result

    def _parsed(self, parse: Callable[[bytes], Result], response: bytes) -> Result:
        if len(response) < _LONG_RESPONSE_BYTES:
            return parse(response)
        # A page keeps the processor for ten milliseconds: between two, others have their turn.
        with self._long_response:
            self._runtime.sleep(0)
            is_huge = (
                len(response) > _HUGE_RESPONSE_BYTES
                or response.count(b"item") > 2 * _MANY_ITEMS  # tags begin and end, with any prefix
            )
            if is_huge and monkey.is_module_patched("threading"):
                result: Result = gevent.get_hub().threadpool.apply(parse, (response,))
                return result
            return parse(response)

    def _client(self, region: str) -> BaseClient:
        with self._clients_lock:
            if region not in self._clients:
                client = new_client(self._settings, region)
                use_connections(client)
                self._clients[region] = client
            return self._clients[region]


class _Slots:
    """The slots of a worker: ``number`` in all, ``share`` of them for one caller.

    Calls that follow a create have as many of their own: they need their turn although new requests
    wait for theirs. ``record_refusal`` is told ``key`` or ``worker``, the limit for which a call
    was given up.
    """

    def __init__(self, number: int, share: int, record_refusal: Callable[[str], None]) -> None:
        self._free = threading.Semaphore(number), threading.Semaphore(number)
        self._share = share
        self._record_refusal = record_refusal
        # Of callers with calls, waiting ones included.
        self._own: WeakValueDictionary[Hashable, threading.Semaphore] = WeakValueDictionary()
        self._lock = threading.Lock()

    @contextmanager
    def one(self, caller: Hashable, seconds: float, *, is_follow_up: bool) -> Iterator[None]:
        """Take a slot, after a wait of ``seconds`` at most. Raises ``EC2Error``: nothing was sent.

        The caller's own comes first: whoever waits for it leaves those of the worker to others.
        """
        end = time.monotonic() + seconds
        with self._lock:
            own = self._own.setdefault((caller, is_follow_up), threading.Semaphore(self._share))
        limits = (
            ("key", own, "This access key has too many requests"),
            ("worker", self._free[is_follow_up], "Too many requests are"),
        )
        with ExitStack() as taken:
            for limit, free, what in limits:
                if not free.acquire(timeout=max(0.0, end - time.monotonic())):
                    self._record_refusal(limit)
                    message = f"{what} in progress. Repeat the request later."
                    raise EC2Error(message, Outcome.NOT_SENT, limit=limit, cause=f"slots: {limit}")
                taken.callback(free.release)
            yield


def back_off(runtime: Runtime, attempt: int) -> float:
    """Return the random number of seconds to wait after an attempt, the first one being 1."""
    return runtime.random.uniform(0, min(2.0 ** (attempt - 1), _MAX_BACKOFF))


def _hosts(settings: Settings) -> dict[str, str]:
    """Map each region that botocore knows, and each configured one, to its EC2 host.

    A client of botocore applies the same rules, but takes ten milliseconds to create.
    """
    partitions = builtin_models().load_data("partitions")
    rules = builtin_models().load_service_model("ec2", "endpoint-rule-set-1")
    endpoints = EndpointProvider(rules, partitions)
    regions = set(settings.regions)
    for partition in partitions["partitions"]:
        regions.update(callers_session().get_available_regions("ec2", partition["id"]))
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
