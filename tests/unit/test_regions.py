"""Providers are the regions of botocore, with the hosts that its clients use."""

from dcproxy.ec2 import client
from dcproxy.ec2.session import builtin_models, callers_session
from tests.support.package import Settings


def test_regions_are_those_of_the_endpoints_and_of_the_partitions():
    hosts = client._hosts(Settings())
    partitions = builtin_models().load_data("partitions")["partitions"]
    available = {
        region
        for partition in partitions
        for region in callers_session().get_available_regions("ec2", partition["id"])
    }
    in_partitions = {region for partition in partitions for region in partition["regions"]}
    pseudo_regions = {region for region in in_partitions if region.endswith("-global")}
    assert set(hosts) == available | in_partitions - pseudo_regions
    assert {"cn-north-1", "us-iso-east-1"} <= set(hosts)


def test_host_of_a_region_is_the_one_that_a_client_uses():
    hosts = client._hosts(Settings(regions=("RegionOne",)))
    used = {
        region: callers_session().client("ec2", region_name=region).meta.endpoint_url
        for region in hosts
    }
    assert {region: f"https://{host}" for region, host in hosts.items()} == used


def test_configured_endpoint_serves_every_region():
    url = "https://cloud.example.org:8773/services/compute"
    hosts = client._hosts(Settings(regions=("RegionOne",), ec2_endpoint_url=url))
    assert hosts["RegionOne"] == "cloud.example.org:8773"
    assert set(hosts.values()) == {"cloud.example.org:8773"}
