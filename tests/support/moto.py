"""moto's EC2: an independent implementation that keeps what is created."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.request import Request, urlopen

import boto3
from botocore.client import BaseClient


@cache
def native_client(url: str, region: str = "us-east-1", service: str = "ec2") -> BaseClient:
    """Make a boto3 client, to arrange and to look at what the application has done."""
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id="arranger",
        aws_secret_access_key="secret",
    )


def forget_everything(url: str) -> None:
    """Remove all resources: lists of hundreds take moto a tenth of a second each."""
    _post(f"{url}/moto-api/reset")


@contextmanager
def verifying_requests(url: str) -> Iterator[None]:
    """Let moto verify signatures, and authorise requests by its IAM, until the block ends."""
    _post(f"{url}/moto-api/reset-auth", b"0")
    try:
        yield
    finally:
        _post(f"{url}/moto-api/reset-auth", b"inf")


def _post(url: str, body: bytes = b"") -> None:
    request = Request(url, body, {"Content-Type": "text/plain"}, method="POST")
    with urlopen(request, timeout=30):
        pass
