"""What an IAM policy allows, by actions, ARNs and conditions; moto looks at actions alone."""

from fnmatch import fnmatchcase

_ID = "0123456789abcdef0"
_ARNS = {
    "instance": f"arn:{{}}:ec2:eu-west-1:123456789012:instance/i-{_ID}",
    # Snapshots have no account in their ARNs.
    "snapshot": f"arn:{{}}:ec2:eu-west-1::snapshot/snap-{_ID}",
    "volume": f"arn:{{}}:ec2:eu-west-1:123456789012:volume/vol-{_ID}",
    "image": f"arn:{{}}:ec2:eu-west-1::image/ami-{_ID}",
    "": "*",
}

RESOURCES = {
    "ec2:AttachVolume": ("instance", "volume"),
    "ec2:CreateSnapshot": ("snapshot", "volume"),
    "ec2:CreateVolume": ("snapshot", "volume"),
    "ec2:DeleteSnapshot": ("snapshot",),
    "ec2:DeleteVolume": ("volume",),
    "ec2:DescribeAvailabilityZones": ("",),
    "ec2:DescribeSnapshots": ("",),
    "ec2:DescribeVolumes": ("",),
    "ec2:DetachVolume": ("instance", "volume"),
}
"""The kinds of resources that EC2 asks IAM for (Service Authorization Reference, "Actions,
resources, and condition keys for Amazon EC2"). Reads know no resource: EC2 asks for ``*``."""


def allows(policy, action, kinds=None, create_action=None, partition="aws"):
    """Tell whether a policy allows an action on a resource of each kind.

    ``kinds`` are those of ``RESOURCES``, if they are not given. ``create_action`` is the request
    whose tags CreateTags sets. IAM User Guide, "Policy evaluation logic" and "IAM JSON policy
    elements: Resource".
    """
    arns = [_ARNS[kind].format(partition) for kind in kinds or RESOURCES[action]]
    context = {"ec2:CreateAction": create_action} if create_action else {}
    return all(
        any(_matches(statement, action, arn, context) for statement in policy["Statement"])
        for arn in arns
    )


def _matches(statement, action, arn, context):
    assert statement.keys() <= {"Sid", "Effect", "Action", "Resource", "Condition"}
    assert statement["Effect"] == "Allow"
    conditions = statement.get("Condition", {"StringEquals": {}})
    assert conditions.keys() == {"StringEquals"}
    return (
        any(fnmatchcase(action.lower(), name.lower()) for name in _list(statement["Action"]))
        and any(fnmatchcase(arn, pattern) for pattern in _list(statement["Resource"]))
        and conditions["StringEquals"].items() <= context.items()
    )


def _list(value):
    return [value] if isinstance(value, str) else value
