"""EC2 through boto3: endpoints, signing, retries and errors stay botocore's, its parser does not.

One client a region serves every caller: making a client costs a thousand times what a
signature does. Each request is signed with the keys of the caller whose request is at work.
"""

import inspect
import logging
import os
import re
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    ReadOnlyCredentials,
)
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.loaders import Loader

from dcproxy import errors, metrics
from dcproxy.credentials import Credentials
from dcproxy.settings import Settings, setting_error
from dcproxy.trace import Trace

# More than the threads of a worker, so that each can keep one alive.
_MAX_POOL_CONNECTIONS = 256


@dataclass(slots=True)
class _Exchange:
    """One call of EC2: for whom it is, how often it was tried, and whether an answer was lost."""

    credentials: Credentials
    trace: Trace
    tries: int = 0
    lost_answer: bool = False


_exchange: ContextVar[_Exchange | None] = ContextVar("exchange", default=None)

_FAILURES: dict[type[Exception], str] = {
    ConnectTimeoutError: "did not take the connection in time",
    ReadTimeoutError: "did not answer in time",
    EndpointConnectionError: "cannot be reached",
    ConnectionClosedError: "broke the connection",
    ProxyConnectionError: "cannot be reached: the proxy on the way to it does not answer",
    SSLError: "has a TLS certificate that does not verify",
}


# What they log at DEBUG holds signatures and the Authorization header, whoever configures logging.
for _name in ("botocore.auth", "botocore.endpoint"):
    logging.getLogger(_name).addFilter(lambda record: record.levelno > logging.DEBUG)

# Nothing of the request has reached EC2.
_NOT_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)


class EC2:
    """Native EC2 in every region, on behalf of one caller a call.

    ``hosts`` are the regions with the host name of the endpoint of each.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        session = session_without_host()
        session.register_component(
            "credential_provider", CredentialResolver([_CallersKeysProvider()])
        )
        session.register("creating-client-class.ec2", _keep_our_actions)  # type: ignore[arg-type]
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
        credentials: Credentials,
        trace: Trace,
        action: str,
        **parameters: object,
    ) -> bytes:
        """Call EC2 and hand back its native XML; ``trace`` is told what it took.

        ``action`` is boto3's name of it, such as ``describe_snapshots``, with EC2's parameters.
        Raises ``DeltacloudError`` when EC2 refuses, fails or is not there.
        """
        # CreateSnapshot has no client token: sent again, it would make a second snapshot. A client
        # of its own, since the others share their retries (botocore's quota).
        attempts = 1 if action == "create_snapshot" else self._settings.retry_attempts
        client = self._client(region, attempts)
        exchange = _Exchange(credentials, trace)
        token = _exchange.set(exchange)
        result = "failed"
        try:
            body: bytes = getattr(client, action)(**parameters)["NativeXML"]
            result = "ok"
        except ClientError as error:
            failure = errors.from_ec2(*_refusal(error.response))
            failure.after_lost_answer = exchange.lost_answer
            result = (
                "throttled" if failure.is_passing else "refused" if failure.is_refusal else "failed"
            )
            raise failure from error
        except Exception as error:
            # botocore's reader of refusals raises many kinds of errors for what it cannot read.
            of_botocore = isinstance(error, BotoCoreError)
            otherwise = (
                "could not be asked" if of_botocore else "gave an answer that cannot be read"
            )
            what = _FAILURES.get(type(error), otherwise)
            was_not_sent = isinstance(error, _NOT_SENT)
            raise errors.DeltacloudError(
                502, f"EC2 in {region} {what}.", is_refusal=was_not_sent, is_passing=was_not_sent
            ) from error
        finally:
            _exchange.reset(token)
            metrics.EC2_REQUESTS.labels(action, result).inc()
            trace.retries += max(exchange.tries - 1, 0)
        return body

    def _client(self, region: str, attempts: int) -> BaseClient:
        with self._clients_lock:
            client = self._clients.get((region, attempts))
            if client is None:
                client = self._clients[region, attempts] = self._new_client(region, attempts)
            return client

    def _new_client(self, region: str, attempts: int) -> BaseClient:
        config = Config(
            connect_timeout=self._settings.connect_timeout,
            read_timeout=self._settings.read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            parameter_validation=False,
            max_pool_connections=_MAX_POOL_CONNECTIONS,
            user_agent_extra="dcproxy",
        )
        client: BaseClient = self._session.client(
            "ec2",
            region_name=region,
            endpoint_url=self._settings.ec2_endpoint_url,
            config=config,
        )
        client.meta.events.register("before-parse.ec2", _keep_native_xml)
        client.meta.events.register("response-received.ec2", _note_try)
        return client


class _CallersKeys(BotocoreCredentials):
    """The keys of the caller whose request is at work, and never anybody else's."""

    def __init__(self) -> None:
        super().__init__("", "")

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        exchange = _exchange.get()
        if exchange is None:
            raise NoCredentialsError
        caller = exchange.credentials
        return ReadOnlyCredentials(caller.access_key_id, caller.secret_access_key, None)


class _CallersKeysProvider(CredentialProvider):
    METHOD = "caller"

    def load(self) -> BotocoreCredentials:
        return _CallersKeys()


def session_without_host() -> botocore.session.Session:
    """Make a session that takes no key, profile, endpoint or model from the host it runs on.

    Proxies (``HTTPS_PROXY``) and ``AWS_CA_BUNDLE`` are the operator's, and hold.
    """
    nothing_of_the_host = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
        "ignore_configured_endpoint_urls": (None, None, True, None),
        "use_dualstack_endpoint": (None, None, False, None),
        "use_fips_endpoint": (None, None, False, None),
    }
    session = botocore.session.Session(session_vars=nothing_of_the_host)
    models = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", models)
    return session


def _hosts(session: botocore.session.Session, settings: Settings) -> dict[str, str]:
    hosts = {region: f"ec2.{region}.amazonaws.com" for region in settings.regions} | {
        region: f"ec2.{region}.{partition['outputs']['dnsSuffix']}"
        for partition in session.get_data("partitions")["partitions"]
        for region in session.get_available_regions("ec2", partition["id"])
    }
    if settings.ec2_endpoint_url:
        return dict.fromkeys(hosts, urlsplit(settings.ec2_endpoint_url).netloc)
    return hosts


ACTIONS = {
    "create_snapshot",
    "delete_snapshot",
    "describe_availability_zones",
    "describe_snapshots",
    "describe_volumes",
}
"""What is called of EC2, by boto3's names."""


def _keep_our_actions(class_attributes: dict[str, Any], **_: object) -> None:
    # EC2 has 800 actions; a megabyte a region for methods that nobody calls.
    for name, attribute in list(class_attributes.items()):
        if inspect.isfunction(attribute) and name not in ACTIONS:
            del class_attributes[name]


# The first element of an answer, which all of them have.
_REQUEST_ID = re.compile(rb"<requestId>[\w-]{1,100}</requestId>")
_HEAD_BYTES = 500


def _keep_native_xml(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    # botocore's parser would cost twenty times as much as lxml's: it gets nothing to parse but
    # refusals, which for botocore are all from 301. Of the others, EC2 documents 200 only.
    if response_dict["status_code"] < 301:
        is_documented = response_dict["status_code"] == 200
        customized_response_dict["NativeXML"] = response_dict["body"] if is_documented else b""
        request_id = _REQUEST_ID.search(response_dict["body"], 0, _HEAD_BYTES)
        response_dict["body"] = b"<Answer>%s</Answer>" % (request_id[0] if request_id else b"")


def _note_try(
    parsed_response: dict[str, Any] | None, exception: Exception | None, **_: object
) -> None:
    exchange = _exchange.get()
    if exchange is None:
        return
    exchange.tries += 1
    if request_id := _request_id(parsed_response or {}):
        exchange.trace.ec2_request_ids.append(request_id)
    if parsed_response is None:
        exchange.lost_answer |= not isinstance(exception, _NOT_SENT)
    else:
        code, _message, status = _refusal(parsed_response)
        exchange.lost_answer |= status >= 500 and code not in errors.EC2_THROTTLING_CODES


def _request_id(parsed_response: Mapping[str, Any]) -> str:
    """Read the id by which AWS's support knows a call; empty where EC2 has given none.

    AWS has it in a header and in the document, private clouds only there.
    """
    metadata = parsed_response.get("ResponseMetadata")
    if not isinstance(metadata, dict):
        return ""
    in_header = metadata.get("HTTPHeaders", {}).get("x-amzn-requestid")
    request_id = in_header or metadata.get("RequestId")
    return request_id if isinstance(request_id, str) else ""


def _refusal(parsed_response: Mapping[str, Any]) -> tuple[str | None, str | None, int]:
    """Read code, message and HTTP status of what botocore has read, whatever EC2 has sent."""
    error, metadata = parsed_response.get("Error"), parsed_response.get("ResponseMetadata")
    code, message = (
        (error.get("Code"), error.get("Message")) if isinstance(error, dict) else (None, None)
    )
    status = metadata.get("HTTPStatusCode", 0) if isinstance(metadata, dict) else 0
    return (
        code if isinstance(code, str) else None,
        message if isinstance(message, str) else None,
        status,
    )
