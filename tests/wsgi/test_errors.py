"""Errors of EC2, and the responses to the client."""

import pytest

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.application import client_of, new_application
from tests.support.callers import CALLER
from tests.support.documents import read_xml
from tests.support.ec2_responses import EC2Response, error_response, snapshot_item, snapshots_page
from tests.support.endpoints import refusing_endpoint, silent_endpoint
from tests.support.package import EC2_CALL
from tests.support.responders import always, in_turn


def test_error_in_xml_contains_the_ec2_code_and_message(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(
        error_response(
            "InvalidSnapshot.NotFound", message="No snapshot <'snap-12345678'> ]]> here."
        )
    )
    root = read_xml(programmed_client.get(f"{SNAPSHOT}?format=xml", status=404))
    assert (root.tag, root.get("status")) == ("error", "404")
    assert root.get("url") == f"{SNAPSHOT}?format=xml"
    assert root.find("backend").get("driver") == "ec2"
    assert root.find("backend").get("provider") == "default"
    assert root.findtext("code") == "404"
    assert root.findtext("message") == (
        "InvalidSnapshot.NotFound: No snapshot <'snap-12345678'> ]]> here."
    )
    assert root.xpath("request/param[@name='id']/text()") == ["snap-12345678"]


def test_error_in_json_contains_the_ec2_code_and_message(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(error_response("InvalidSnapshot.NotFound", message="No."))
    assert programmed_client.get(f"{SNAPSHOT}?format=json", status=404).json == {
        "code": 404,
        "message": "InvalidSnapshot.NotFound: No.",
        "error": "InvalidSnapshot.NotFound",
    }


def test_error_in_xml_begins_with_the_error_element(client):
    assert client.get(f"{SNAPSHOT}?format=xml", status=404).body.startswith(b"<error ")


def test_error_in_html_contains_the_ec2_code_and_message(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(error_response("UnauthorizedOperation", 403, "<b>No."))
    page = programmed_client.get(f"{SNAPSHOT}?format=html", status=502)
    assert page.html.h1.text == "502 Bad Gateway"
    assert page.html.main.p.text.startswith("UnauthorizedOperation: <b>No. (X-Request-Id: ")


def test_ec2_authentication_failure_is_401_with_a_challenge(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(error_response("AuthFailure", 401))
    response = programmed_client.get(SNAPSHOT, status=401)
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_throttling_is_502_with_retry_after(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(error_response("RequestLimitExceeded", 503))
    response = programmed_client.get(SNAPSHOT, status=502)
    assert int(response.headers["Retry-After"]) > 0
    assert "RequestLimitExceeded" in read_xml(response).findtext("message")


def test_refused_connection_is_502():
    with refusing_endpoint() as url:
        client = client_of(new_application(ec2_endpoint_url=url))
        message = read_xml(client.get(SNAPSHOT, status=502)).findtext("message")
    assert message.startswith(
        "EC2 in us-east-1 cannot be reached: the connection was refused. (X-Request-Id: "
    )


def test_read_timeout_is_502():
    with silent_endpoint() as url:
        client = client_of(new_application(ec2_endpoint_url=url, read_timeout=0.2))
        message = read_xml(client.get(SNAPSHOT, status=502)).findtext("message")
    assert message.startswith("EC2 in us-east-1 did not respond in time. (X-Request-Id: ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Welcome!</body></html>",
        b"not XML",
        snapshots_page(snapshot_item("snap-12345678")).body[:-10],
        snapshots_page("").body.replace(b"DescribeSnapshots", b"DescribeVolumes"),
        snapshots_page(snapshot_item("")).body,
        snapshots_page(snapshot_item("snap-12345678", description="\xff")).body.replace(
            "\xff".encode(), b"\xff"
        ),
    ],
)
def test_unreadable_response_is_502(programmed_client, programmed_ec2, body):
    programmed_ec2.respond = always(EC2Response(body))
    message = read_xml(programmed_client.get(SNAPSHOT, status=502)).findtext("message")
    assert "cannot be read" in message


@pytest.mark.parametrize("status", [201, 204, 300])
def test_success_that_is_not_200_is_502(programmed_client, programmed_ec2, status):
    programmed_ec2.respond = always(EC2Response(snapshots_page("").body, status))
    programmed_client.get(SNAPSHOT, status=502)
    programmed_client.get("/api?force_auth=1", status=502)


def test_unreadable_error_is_502(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(EC2Response(b"<html>go away", 400))
    programmed_client.get(SNAPSHOT, status=502)


def test_empty_list_for_one_id_is_404(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(""))
    programmed_client.get(SNAPSHOT, status=404)


def test_bug_is_500_without_internals(programmed_client, programmed_ec2, monkeypatch, caplog):
    def broken(self, *arguments, **parameters):
        raise RuntimeError("at /home/somebody/secret.py")

    monkeypatch.setattr(EC2_CALL, broken)
    response = programmed_client.get(SNAPSHOT, status=500)
    assert read_xml(response).findtext("code") == "500"
    assert "secret.py" not in response.text
    assert "secret.py" in caplog.text


@pytest.mark.parametrize("format", ["xml", "json", "html"])
@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_no_error_discloses_the_secret(programmed_client, programmed_ec2, format, status):
    programmed_ec2.respond = always(error_response("Whatever", status))
    response = programmed_client.get(f"{SNAPSHOT}?format={format}", expect_errors=True)
    assert response.status_code == 502
    for hidden in (CALLER[1], "Signature=", "Traceback", "dcproxy/", programmed_ec2.url):
        assert hidden not in response.text


def test_failed_creates_do_not_use_up_the_retries_of_reads(programmed_client, programmed_ec2):
    def respond(request):
        # 120 creates would exhaust the retry quota of botocore.
        is_create = request.action == "CreateSnapshot"
        return error_response("InternalError", 500) if is_create else snapshots_page("")

    programmed_ec2.respond = respond
    for _ in range(40):
        given = {"volume_id": "vol-12345678"}
        programmed_client.post(SNAPSHOTS, given, status=502)
    programmed_ec2.respond = in_turn(
        error_response("InternalError", 500), snapshots_page(snapshot_item("snap-12345678"))
    )
    programmed_client.get(SNAPSHOT, status=200)


def test_429_without_a_code_is_throttling(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(EC2Response(b"<html>slow down</html>", 429))
    assert programmed_client.get(SNAPSHOT, status=502).headers["Retry-After"]


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 500, 503])
@pytest.mark.parametrize("body", [b"", b"<html><h1>Forbidden</h1></html>", b"<Response/>"])
def test_status_without_an_ec2_error_document_is_502(
    programmed_client, programmed_ec2, status, body
):
    programmed_ec2.respond = always(EC2Response(body, status))
    addresses = [SNAPSHOT, SNAPSHOTS, f"{SNAPSHOTS}?id=snap-12345678", "/api/realms"]
    for address in addresses:
        response = programmed_client.get(address, status=502)
        assert response.headers["Retry-After"]
    programmed_client.delete(SNAPSHOT, status=502)


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "InvalidSnapshot.InUse", "Unheard"])
def test_refusal_is_502_without_retry_after(programmed_client, programmed_ec2, code):
    programmed_ec2.respond = always(error_response(code))
    for response in (
        programmed_client.get(SNAPSHOT, status=502),
        programmed_client.delete(SNAPSHOT, status=502),
    ):
        assert read_xml(response).findtext("message").startswith(f"{code}: EC2 says no.")
        assert "Retry-After" not in response.headers
    assert len(programmed_ec2.requests) == 2


@pytest.mark.parametrize("prefix", ["Client.", "Server."])
@pytest.mark.parametrize(
    ("code", "status"),
    [("InvalidSnapshot.NotFound", 404), ("AuthFailure", 401), ("InvalidSnapshot.InUse", 502)],
)
def test_prefix_of_an_ec2_code_is_removed(programmed_client, programmed_ec2, prefix, code, status):
    of_ec2 = 401 if status == 401 else 400
    programmed_ec2.respond = always(error_response(prefix + code, of_ec2))
    document = programmed_client.get(f"{SNAPSHOT}?format=json", status=status).json
    assert document["error"] == code
    assert document["message"].startswith(f"{code}: ")


@pytest.mark.parametrize("status", [400, 403])
def test_auth_failure_with_another_status_is_502(programmed_client, programmed_ec2, status):
    programmed_ec2.respond = always(error_response("AuthFailure", status))
    response = programmed_client.get(SNAPSHOT, status=502)
    assert "WWW-Authenticate" not in response.headers


@pytest.mark.parametrize("code", ["RequestExpired", "InvalidSecurity.RequestHasExpired"])
def test_expired_signature_is_502_blaming_the_clock(programmed_client, programmed_ec2, code):
    programmed_ec2.respond = always(error_response(code))
    for address in (SNAPSHOT, "/api?force_auth=1"):
        message = read_xml(programmed_client.get(address, status=502)).findtext("message")
        assert "The clock of this server is wrong." in message


@pytest.mark.parametrize(
    ("response", "status", "level", "code"),
    [
        (error_response("UnauthorizedOperation", 403), 502, "WARNING", "UnauthorizedOperation"),
        (error_response("InvalidSnapshot.NotFound"), 404, "WARNING", "InvalidSnapshot.NotFound"),
        (error_response("AuthFailure", 401), 401, "WARNING", "AuthFailure"),
        (error_response("InternalError", 500), 502, "ERROR", "InternalError"),
        (error_response("RequestLimitExceeded", 503), 502, "WARNING", "RequestLimitExceeded"),
        (error_response("RequestExpired"), 502, "ERROR", "RequestExpired"),
        (EC2Response(b"<html>Forbidden</html>", 403), 502, "ERROR", None),
    ],
)
def test_refusal_is_logged_as_a_warning_and_an_outage_as_an_error(
    programmed_client, programmed_ec2, caplog, response, status, level, code
):
    programmed_ec2.respond = always(response)
    programmed_client.get(SNAPSHOT, status=status)
    [record] = [record for record in caplog.records if record.name == "dcproxy.requests"]
    assert record.levelname == level
    assert (getattr(record, "error_code", None) or None) == code
