"""The programmed EC2 notices requests that EC2 would refuse."""

import boto3
import pytest

from tests.support.callers import CALLER
from tests.support.ec2_requests import parameter_problems
from tests.support.ec2_server import UncheckedSignatureWarning, programmed_ec2_server

VERSION = "Version=2016-11-15"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (f"Action=DescribeSnapshots&{VERSION}&MaxResults=5&Owner.1=self", None),
        (f"Action=DescribeSnapshots&{VERSION}&Filter.1.Name=a&Filter.1.Value.1=b", None),
        ("Action=DescribeSnapshots&Version=2010-08-31", "version"),
        (f"Action=Describe&{VERSION}", "no action"),
        (f"Action=DescribeSnapshots&{VERSION}&OwnerIds.1=self", "no member OwnerIds"),
        (f"Action=DescribeSnapshots&{VERSION}&Owner=self", "not a list"),
        (f"Action=DescribeSnapshots&{VERSION}&Owner.2=self", "numbered"),
        (f"Action=DescribeSnapshots&{VERSION}&MaxResults=many", "not of type integer"),
        (f"Action=CreateSnapshot&{VERSION}", "VolumeId is missing"),
        (f"Action=CreateSnapshot&{VERSION}&VolumeId=a&VolumeId=b", "repeated"),
        (
            f"Action=CreateSnapshot&{VERSION}&VolumeId=a&TagSpecification.1.ResourceType=snapshots",
            "none of",
        ),
    ],
)
def test_wrong_parameters_are_problems(body, problem):
    problems = parameter_problems(body)
    assert [problem in found for found in problems] == ([True] if problem else [])


def describe_snapshots(url, id, secret):
    options = {"endpoint_url": url, "aws_access_key_id": id, "aws_secret_access_key": secret}
    boto3.client("ec2", region_name="us-east-1", **options).describe_snapshots()


def test_signature_with_another_secret_fails_the_test():
    with pytest.raises(AssertionError, match="signature"), programmed_ec2_server() as ec2:
        describe_snapshots(ec2.url, CALLER[0], "another secret")


def test_caller_without_a_registered_secret_is_a_warning():
    with (
        pytest.warns(UncheckedSignatureWarning, match="AKIDUNKNOWN"),
        programmed_ec2_server() as ec2,
    ):
        describe_snapshots(ec2.url, "AKIDUNKNOWN", "secret")
