"""One call of EC2: the parsed native response, or an ``EC2Error``."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import xform_name
from botocore.client import BaseClient
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

from dcproxy.context import RequestContext
from dcproxy.ec2.errors import EC2Error, Outcome, outcome_of_response
from dcproxy.ec2.session import (
    NOT_SENT,
    AccessKey,
    callers_session,
    current_call,
    new_client,
    parsed_error,
)
from dcproxy.ec2.xml import UnreadableError
from dcproxy.settings import Settings, setting_error

Result = TypeVar("Result")

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
    and the result of each call: ``ok``, ``refused``, ``throttled`` or ``failed``. Raises
    ``SettingError`` when the default provider is not a region of EC2.
    """

    def __init__(self, settings: Settings, record_call: Callable[[str, str], None]) -> None:
        self._settings = settings
        self._record_call = record_call
        session = callers_session()
        self._session = boto3.Session(botocore_session=session)
        self._clients: dict[tuple[str, int], BaseClient] = {}
        self._clients_lock = threading.Lock()
        self.hosts = _hosts(session, settings)
        if settings.provider not in self.hosts:
            raise setting_error(
                "provider", settings.provider, f"one of the regions {', '.join(self.hosts)}"
            )
        # Before the first request, which would have to wait for it.
        self._client(settings.provider, settings.retry_attempts)

    def call(
        self,
        region: str,
        access_key: AccessKey,
        context: RequestContext,
        parse: Callable[[bytes], Result],
        action: str,
        **params: object,
    ) -> Result:
        """Call ``action`` with ``params``, both named as in the EC2 API reference.

        ``parse`` reads the native XML of the response; ``context`` records the attempts. Raises
        ``EC2Error``.
        """
        # CreateSnapshot has no client token: repeated, it makes a second snapshot. It has a client
        # of its own, since all calls of a client share botocore's retry quota.
        attempts = 1 if action == "CreateSnapshot" else self._settings.retry_attempts
        method = getattr(self._client(region, attempts), xform_name(action))
        with self._recording(action), current_call(access_key, context) as call:
            try:
                return parse(method(**params)["NativeXML"])
            except Exception as error:
                raise _ec2_error(error, region, call.response_lost) from error

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

    def _client(self, region: str, attempts: int) -> BaseClient:
        with self._clients_lock:
            client = self._clients.get((region, attempts))
            if client is None:
                client = new_client(self._session, self._settings, region, attempts)
                self._clients[region, attempts] = client
            return client


def _ec2_error(error: Exception, region: str, response_lost: bool) -> EC2Error:
    """Classify what botocore or the parser raised."""
    if isinstance(error, ClientError):
        code, message, status = parsed_error(error.response)
        if not code:
            message = f"EC2 in {region} responded with status {status} and no error code."
        return EC2Error(
            message or "EC2 sent no message.",
            outcome_of_response(code, status),
            code=code,
            http_status=status,
            earlier_response_lost=response_lost,
        )
    if isinstance(error, UnreadableError):
        what = f"sent a response that cannot be read: {error}"
    elif isinstance(error, BotoCoreError):
        what = _FAILURES.get(type(error), "could not be called")
    else:
        # botocore raises errors of many types for error documents that it cannot parse.
        what = "sent a response that cannot be read"
    outcome = Outcome.NOT_SENT if isinstance(error, NOT_SENT) else Outcome.UNKNOWN
    return EC2Error(f"EC2 in {region} {what}.", outcome)


def _hosts(session: botocore.session.Session, settings: Settings) -> dict[str, str]:
    hosts = {region: f"ec2.{region}.amazonaws.com" for region in settings.regions}
    for partition in session.get_data("partitions")["partitions"]:
        for region in session.get_available_regions("ec2", partition["id"]):
            hosts[region] = f"ec2.{region}.{partition['outputs']['dnsSuffix']}"
    if settings.ec2_endpoint_url:
        return dict.fromkeys(hosts, urlsplit(settings.ec2_endpoint_url).netloc)
    return hosts
