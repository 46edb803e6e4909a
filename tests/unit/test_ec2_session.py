"""The session that the clients of all regions come from."""

from dcproxy.ec2.session import ACTIONS, builtin_models, callers_session


def test_clients_hold_only_the_actions_in_use():
    client = callers_session().client("ec2", region_name="us-east-1")
    assert set(client.meta.service_model.operation_names) == set(ACTIONS)
    assert set(client.meta.method_to_api_mapping.values()) == set(ACTIONS)


def test_ec2_has_no_shapes_of_errors():
    model = builtin_models().load_service_model("ec2", "service-2")
    assert not [name for name, shape in model["shapes"].items() if shape.get("exception")]
