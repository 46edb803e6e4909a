"""The session that the clients of all regions come from."""

import boto3

from dcproxy.ec2.session import ACTIONS, callers_session


def test_clients_hold_only_the_actions_in_use():
    client = boto3.Session(botocore_session=callers_session()).client(
        "ec2", region_name="us-east-1"
    )
    assert set(client.meta.service_model.operation_names) == set(ACTIONS)
    assert set(client.meta.method_to_api_mapping.values()) == set(ACTIONS)
    assert "CreateSnapshotRequest" in client.meta.service_model.shape_names
    assert "RunInstancesRequest" not in client.meta.service_model.shape_names
