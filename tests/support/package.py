"""The names of the package that tests share: a change of its layout is a change here.

Only unit tests import the package themselves, and only the module that they test.
"""

from dcproxy.app import application
from dcproxy.auth.passwords import Passwords
from dcproxy.deltacloud.parameters import MAX_BODY_BYTES
from dcproxy.deltacloud.urls import Urls
from dcproxy.ec2.session import ACTIONS, builtin_models
from dcproxy.operations.creating.idempotency import CREATE_TAG, REQUEST_TAG
from dcproxy.operations.creating.ladder import LOOK_DELAYS
from dcproxy.operations.creating.snapshot import SHOW_DELAYS
from dcproxy.runtime import Runtime
from dcproxy.server.cli import MOCK_USER
from dcproxy.server.mock import running as running_moto
from dcproxy.settings import Settings
from tests.support.addresses import BASE_URL

# Where the package sends a request to EC2, for tests that make it fail.
EC2_CALL = "dcproxy.ec2.client.EC2Client.call"

# The URLs of a request without driver and provider.
URLS = Urls(BASE_URL, ())

__all__ = [
    "ACTIONS",
    "CREATE_TAG",
    "EC2_CALL",
    "LOOK_DELAYS",
    "MAX_BODY_BYTES",
    "MOCK_USER",
    "REQUEST_TAG",
    "SHOW_DELAYS",
    "URLS",
    "Passwords",
    "Runtime",
    "Settings",
    "application",
    "builtin_models",
    "running_moto",
]
