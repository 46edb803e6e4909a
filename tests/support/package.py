"""Every name of the package that tests outside ``tests/unit`` use, in one place."""

from dcproxy.app import application
from dcproxy.mock import running as running_moto
from dcproxy.operations.creation import CREATE_TAG
from dcproxy.operations.creation import LOOK_PAUSES as POLL_DELAYS
from dcproxy.parameters import MAX_BODY_BYTES
from dcproxy.settings import Settings

# Where the package sends a request to EC2, for tests that make it fail.
EC2_CALL = "dcproxy.ec2.EC2.call"

__all__ = [
    "CREATE_TAG",
    "EC2_CALL",
    "MAX_BODY_BYTES",
    "POLL_DELAYS",
    "Settings",
    "application",
    "running_moto",
]
