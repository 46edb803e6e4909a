"""A boto3 session that takes nothing from the host and signs with the key of the current caller.

One client per region serves every caller: a new client costs a thousand times what a signature
does. A context variable holds the key to sign with.
"""

import logging
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.session
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError
from botocore.loaders import Loader

from dcproxy.settings import SettingError, Settings

ACTIONS = (
    *("AttachVolume", "CreateSnapshot", "CreateVolume", "DeleteSnapshot", "DeleteVolume"),
    *("DescribeAvailabilityZones", "DescribeSnapshots", "DescribeVolumes", "DetachVolume"),
)
"""The EC2 actions in use."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An AWS access key; a temporary one has a session token.

    ``is_trusted``: it comes from the operator, not from a client that may have invented it.
    """

    id: str
    secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    is_trusted: bool = False


@dataclass(slots=True)
class Sending:
    """A request to EC2: its key; whether its first byte may have left, that of CONNECT aside."""

    access_key: AccessKey
    has_begun: bool = False


_sending: ContextVar[Sending | None] = ContextVar("sending", default=None)


@contextmanager
def sending(access_key: AccessKey) -> Iterator[Sending]:
    """Let the clients of ``callers_session`` sign with ``access_key`` while this is open."""
    request = Sending(access_key)
    token = _sending.set(request)
    try:
        yield request
    finally:
        _sending.reset(token)


def note_first_byte() -> None:
    """Note that the first byte of the request is about to leave."""
    if request := _sending.get():
        request.has_begun = True


class _CallersKey(Credentials):
    """The access key of ``sending``, and no other."""

    def __init__(self) -> None:
        super().__init__("", "")

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        request = _sending.get()
        if request is None:
            raise NoCredentialsError
        key = request.access_key
        return ReadOnlyCredentials(key.id, key.secret, key.session_token or None)


class _ActionsInUse(Loader):
    """Loads EC2's model without its other 800 actions, which cost half a megabyte per region."""

    def load_service_model(
        self, service_name: str, type_name: str, api_version: str | None = None
    ) -> Any:
        model = super().load_service_model(service_name, type_name, api_version)
        if (service_name, type_name) == ("ec2", "service-2"):
            model["operations"] = {action: model["operations"][action] for action in ACTIONS}
        return model


def isolated_session() -> botocore.session.Session:
    """Create a session without any key, profile, endpoint or model of the host.

    Proxies (``HTTPS_PROXY``) and ``AWS_CA_BUNDLE`` still apply: they are the operator's.
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
    session.register_component("data_loader", builtin_models())
    return session


@cache
def builtin_models(loader: type[Loader] = Loader) -> Loader:
    """Return a loader of the models that botocore contains, and of none of the host."""
    return loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)


@cache
def callers_session() -> boto3.Session:
    """Return the session of all applications, whose clients sign with the key of ``sending``."""
    # Their DEBUG records hold signatures and the Authorization header, and the responses of STS.
    for name in ("botocore.auth", "botocore.endpoint", "botocore.parsers"):
        logging.getLogger(name).addFilter(_is_above_debug)
    session = isolated_session()
    session.register_component("data_loader", builtin_models(_ActionsInUse))
    session.register_component("credential_provider", SimpleNamespace(load_credentials=_CallersKey))
    return boto3.Session(botocore_session=session)


def _is_above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def new_client(settings: Settings, region: str) -> BaseClient:
    """Create the client of a region. Its results hold the native response as ``NativeXML``.

    It sends each request once: ``EC2Client`` decides what is repeated.
    """
    config = Config(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        retries={"mode": "standard", "total_max_attempts": 1},
        parameter_validation=False,
        max_pool_connections=0,  # no limit: the slots have one
        user_agent_extra="dcproxy",
    )
    client: BaseClient = callers_session().client(
        "ec2", region_name=region, endpoint_url=settings.ec2_endpoint_url, config=config
    )
    client.meta.events.register("before-parse.ec2", _keep_native_xml)
    # EC2 has none. botocore would look through all shapes at the first error, for 50 ms.
    client.meta.service_model.error_shapes = []
    return client


# The first element of every response.
_REQUEST_ID = re.compile(rb"<requestId>[\w-]{1,100}</requestId>")
_HEAD_BYTES = 500
_MAX_ERROR_BYTES = 100_000


def _keep_native_xml(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    # botocore's parser takes twenty times as long as lxml, so it gets only errors to parse, which
    # for botocore begin at 301. The only status that EC2 documents for a success is 200.
    if response_dict["status_code"] < 301:
        is_documented = response_dict["status_code"] == 200
        customized_response_dict["NativeXML"] = response_dict["body"] if is_documented else b""
        request_id = _REQUEST_ID.search(response_dict["body"], 0, _HEAD_BYTES)
        response_dict["body"] = b"<Response>%s</Response>" % (request_id[0] if request_id else b"")
        return
    # botocore resolves entities, takes long, and raises an error without the status.
    body = response_dict["body"]
    if len(body) > _MAX_ERROR_BYTES or b"<!DOCTYPE" in body or b"Code>" not in body:
        response_dict["body"] = b"<Response/>"


def request_id(result: Mapping[str, Any]) -> list[str]:
    """Return the request id that AWS support asks for, in a list; without one it is empty."""
    metadata = result.get("ResponseMetadata", {})
    # Private clouds send it in the document only.
    id = metadata.get("HTTPHeaders", {}).get("x-amzn-requestid") or metadata.get("RequestId")
    return [id] if isinstance(id, str) and id else []


def check_ca_bundle() -> None:
    """Raise ``SettingError`` when the file of ``AWS_CA_BUNDLE`` cannot verify anybody."""
    if file := os.environ.get("AWS_CA_BUNDLE"):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except OSError as error:
            raise SettingError(
                f"the file of AWS_CA_BUNDLE {file} cannot be read: {error}"
            ) from error
