"""The request id: the client's own or a new one, in the headers and in messages of a 5xx."""

import uuid

import pytest

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.ec2_responses import error_response
from tests.support.responders import always


@pytest.mark.parametrize(
    "id", ["a", "20261123-194501.a_b", "Root=1-67891233-abcdef012345678912345678", "x" * 200]
)
def test_valid_request_id_of_the_client_is_kept(client, id):
    assert client.get("/api", headers={"X-Request-Id": id}).headers["X-Request-Id"] == id


@pytest.mark.parametrize("id", ["", " ", "a b", "a\tb", '{"a":1}', "<b>", "caf\xe9", "x" * 201])
def test_malformed_request_id_is_replaced(client, id):
    made = client.get("/api", headers={"X-Request-Id": id}).headers["X-Request-Id"]
    assert uuid.UUID(made).version == 4


def test_each_request_gets_a_unique_request_id(client):
    assert len({client.get("/api").headers["X-Request-Id"] for _ in range(3)}) == 3


@pytest.mark.parametrize("address", ["/nowhere", "/api?format=pdf", f"{SNAPSHOTS}/x"])
def test_error_has_a_request_id(client, address):
    assert client.get(address, status="4*").headers["X-Request-Id"]


@pytest.mark.parametrize("format", ["xml", "json", "html"])
def test_message_of_a_5xx_contains_the_request_id(client_with, programmed_ec2, format):
    client = client_with(retry_attempts=1)
    programmed_ec2.respond = always(error_response("RequestLimitExceeded", 503))
    headers = {"X-Request-Id": "find-me"}
    response = client.get(f"{SNAPSHOT}?format={format}", headers=headers, status=502)
    message = {
        "xml": lambda: response.lxml.findtext("message"),
        "json": lambda: response.json["message"],
        "html": lambda: response.html.main.p.text,
    }[format]()
    assert message.endswith("(X-Request-Id: find-me)")


def test_message_of_a_4xx_does_not_contain_the_request_id(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(error_response("InvalidSnapshot.NotFound"))
    headers = {"X-Request-Id": "find-me"}
    message = programmed_client.get(SNAPSHOT, headers=headers, status=404).lxml.findtext("message")
    assert "find-me" not in message
