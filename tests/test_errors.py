"""What EC2 says, and what the client hears."""

import socket

import pytest

from dcproxy import errors
from dcproxy.settings import Settings
from tests.conftest import CALLER, client_of
from tests.programmed_ec2 import Answer, refusal, snapshot_item, snapshots_page

SHOW = "/api/storage_snapshots/snap-12345678"


@pytest.mark.parametrize(
    ("code", "of_ec2", "status"),
    [
        ("AuthFailure", 401, 401),
        ("InvalidClientTokenId", 403, 401),
        ("InvalidAccessKeyId", 403, 401),
        ("SignatureDoesNotMatch", 403, 401),
        ("IncompleteSignature", 400, 401),
        ("MissingAuthenticationToken", 403, 401),
        ("ExpiredToken", 400, 401),
        ("RequestExpired", 400, 401),
        ("UnauthorizedOperation", 403, 403),
        ("AccessDenied", 403, 403),
        ("OptInRequired", 401, 403),
        ("Blocked", 400, 403),
        ("PendingVerification", 400, 403),
        ("InvalidSnapshot.NotFound", 400, 404),
        ("InvalidVolume.NotFound", 400, 404),
        ("MissingParameter", 400, 400),
        ("InvalidParameterValue", 400, 400),
        ("InvalidParameterCombination", 400, 400),
        ("InvalidSnapshotID.Malformed", 400, 400),
        ("InvalidSnapshot.InUse", 400, 409),
        ("IncorrectState", 400, 409),
        ("SnapshotLimitExceeded", 400, 409),
        ("ConcurrentSnapshotLimitExceeded", 400, 409),
        ("RequestLimitExceeded", 503, 502),
        ("Throttling", 400, 502),
        ("InternalError", 500, 502),
        ("Unavailable", 503, 502),
        ("NeverHeardOfIt", 400, 400),
        ("NeverHeardOfIt", 404, 404),
        ("NeverHeardOfIt", 418, 400),
        ("NeverHeardOfIt", 429, 502),
        ("NeverHeardOfIt", 500, 502),
        ("NeverHeardOfIt", 307, 502),
    ],
)
def test_ec2s_refusal_has_its_status(code, of_ec2, status):
    error = errors.from_ec2(code, "No.", of_ec2)
    assert error.status == status
    assert error.ec2_code == code
    assert error.message == f"{code}: No."


def test_refusal_is_an_xml_document_with_ec2s_code_and_message(
    client_of_programmed, programmed_ec2, xml
):
    programmed_ec2.respond = lambda request: refusal(
        "InvalidSnapshot.NotFound", message="No snapshot <'snap-12345678'> ]]> here."
    )
    root = xml(client_of_programmed.get(f"{SHOW}?format=xml", status=404))
    assert (root.tag, root.get("status")) == ("error", "404")
    assert root.get("url") == f"{SHOW}?format=xml"
    assert root.find("backend").get("driver") == "ec2"
    assert root.find("backend").get("provider") == ""
    assert root.findtext("code") == "404"
    assert root.findtext("message") == (
        "InvalidSnapshot.NotFound: No snapshot <'snap-12345678'> ]]> here."
    )
    assert root.xpath("request/param[@name='id']/text()") == ["snap-12345678"]


def test_refusal_is_a_json_document(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: refusal("InvalidSnapshot.NotFound", message="No.")
    assert client_of_programmed.get(f"{SHOW}?format=json", status=404).json == {
        "code": 404,
        "message": "InvalidSnapshot.NotFound: No.",
        "error": "InvalidSnapshot.NotFound",
    }


def test_xml_begins_with_the_element_by_which_libdeltacloud_knows_an_error(client):
    assert client.get(f"{SHOW}?format=xml", status=404).body.startswith(b"<error ")


def test_refusal_is_a_page(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: refusal("UnauthorizedOperation", 403, "<b>No.")
    page = client_of_programmed.get(f"{SHOW}?format=html", status=403)
    assert page.html.h1.text == "403 Forbidden"
    assert page.html.main.p.text == "UnauthorizedOperation: <b>No."


def test_401_of_ec2_has_the_challenge(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: refusal("AuthFailure", 401)
    response = client_of_programmed.get(SHOW, status=401)
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_throttling_is_502_and_says_when_to_come_back(client_of_programmed, programmed_ec2, xml):
    programmed_ec2.respond = lambda request: refusal("RequestLimitExceeded", 503)
    response = client_of_programmed.get(SHOW, status=502)
    assert int(response.headers["Retry-After"]) > 0
    assert "RequestLimitExceeded" in xml(response).findtext("message")


def test_ec2_that_refuses_the_connection_is_502(xml):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        client = client_of(Settings(ec2_endpoint_url=url))
        message = xml(client.get(SHOW, status=502)).findtext("message")
    assert message.startswith("EC2 in us-east-1 cannot be reached. (X-Request-Id: ")


def test_ec2_that_keeps_silent_is_502(xml):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = client_of(Settings(ec2_endpoint_url=url, read_timeout=0.2))
        message = xml(client.get(SHOW, status=502)).findtext("message")
    assert message.startswith("EC2 in us-east-1 did not answer in time. (X-Request-Id: ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Welcome!</body></html>",
        b"not XML",
        snapshots_page(snapshot_item("snap-12345678")).body[:-10],
        b"<DescribeSnapshotsResponse><snapshotSet/></DescribeSnapshotsResponse>",
        snapshots_page("").body.replace(b"ec2.amazonaws.com", b"evil.example.org"),
        snapshots_page("").body.replace(b"DescribeSnapshots", b"DescribeVolumes"),
        snapshots_page(snapshot_item("")).body,
        snapshots_page(snapshot_item("snap-1' x='")).body,
        snapshots_page(snapshot_item("snap-12345678", start_time="yesterday")).body,
        snapshots_page(snapshot_item("snap-12345678", start_time="2011-02-30T00:00:00Z")).body,
        snapshots_page(snapshot_item("snap-12345678", description="\xff")).body.replace(
            "\xff".encode(), b"\xff"
        ),
    ],
)
def test_answer_that_cannot_be_read_is_502(client_of_programmed, programmed_ec2, xml, body):
    programmed_ec2.respond = lambda request: Answer(body)
    message = xml(client_of_programmed.get(SHOW, status=502)).findtext("message")
    assert "cannot be read" in message


@pytest.mark.parametrize("status", [201, 204, 300])
def test_success_that_is_not_200_is_502(client_of_programmed, programmed_ec2, status):
    programmed_ec2.respond = lambda request: Answer(snapshots_page("").body, status)
    client_of_programmed.get(SHOW, status=502)
    client_of_programmed.get("/api?force_auth=1", status=502)


def test_refusal_that_cannot_be_read_is_502(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: Answer(b"<html>go away", 400)
    client_of_programmed.get(SHOW, status=502)


def test_empty_list_for_one_id_is_404(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: snapshots_page("")
    client_of_programmed.get(SHOW, status=404)


def test_fault_of_our_own_is_500_with_nothing_of_the_inside(
    client_of_programmed, programmed_ec2, xml, monkeypatch, caplog
):
    def broken(self, *arguments, **parameters):
        raise RuntimeError("at /home/somebody/secret.py")

    monkeypatch.setattr("dcproxy.ec2.EC2.call", broken)
    response = client_of_programmed.get(SHOW, status=500)
    assert xml(response).findtext("code") == "500"
    assert "secret.py" not in response.text
    assert "secret.py" in caplog.text


@pytest.mark.parametrize("format", ["xml", "json", "html"])
@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_no_error_gives_away_the_secret(client_of_programmed, programmed_ec2, format, status):
    programmed_ec2.respond = lambda request: refusal("Whatever", status)
    response = client_of_programmed.get(f"{SHOW}?format={format}", expect_errors=True)
    assert response.status_code in {400, 403, 502}
    for hidden in (CALLER[1], "Signature=", "Traceback", "dcproxy/", programmed_ec2.url):
        assert hidden not in response.text


def test_failed_creates_do_not_use_up_the_retries_of_reads(client_of_programmed, programmed_ec2):
    def respond(request):
        # 120 creates: as many as would use up botocore's quota.
        is_create = request.action == "CreateSnapshot"
        return refusal("InternalError", 500) if is_create else snapshots_page("")

    programmed_ec2.respond = respond
    for _ in range(40):
        given = {"volume_id": "vol-12345678"}
        client_of_programmed.post("/api/storage_snapshots", given, status=502)
    answers = [refusal("InternalError", 500), snapshots_page(snapshot_item("snap-12345678"))]
    programmed_ec2.respond = lambda request: answers.pop(0)
    client_of_programmed.get(SHOW, status=200)


def test_429_without_a_code_is_throttling(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: Answer(b"<html>slow down</html>", 429)
    assert client_of_programmed.get(SHOW, status=502).headers["Retry-After"]
