"""The server that most live tests speak to."""

from collections.abc import Iterator

import pytest

from tests.support.ec2_server import EC2Server
from tests.support.servers import WORKER, Server, gunicorn


@pytest.fixture(scope="module")
def server(ec2_server: EC2Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run gunicorn with ``proxy.ini``, in front of the programmed EC2."""
    with gunicorn(tmp_path_factory.mktemp("gunicorn"), ec2_server.url, *WORKER) as server:
        yield server
