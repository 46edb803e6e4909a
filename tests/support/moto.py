"""moto's EC2: an independent implementation that keeps what is created."""

import boto3
from botocore.client import BaseClient


def native_client(url: str, region: str = "us-east-1") -> BaseClient:
    """Make a boto3 client, to arrange and to look at what the application has done."""
    return boto3.client(
        "ec2",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id="arranger",
        aws_secret_access_key="secret",
    )
