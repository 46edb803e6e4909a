"""The names of the package that tests share: a change of its layout is a change here.

Only unit tests import the package themselves, and only the module that they test.
"""

from dcproxy.app import application
from dcproxy.mock import running as running_moto
from dcproxy.operations.creation import CREATE_TAG
from dcproxy.operations.creation import LOOK_PAUSES as POLL_DELAYS
from dcproxy.parameters import MAX_BODY_BYTES
from dcproxy.routes import match
from dcproxy.settings import Settings
from tests.support.addresses import BASE_URL

# Where the package sends a request to EC2, for tests that make it fail.
EC2_CALL = "dcproxy.ec2.EC2.call"

# The URLs of a request without driver and provider.
_, URLS = match("GET", "/api", BASE_URL, ())

__all__ = [
    "CREATE_TAG",
    "EC2_CALL",
    "MAX_BODY_BYTES",
    "POLL_DELAYS",
    "URLS",
    "Settings",
    "application",
    "running_moto",
]
