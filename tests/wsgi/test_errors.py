"""Errors of EC2, and the responses to the client."""

import time
from email.utils import formatdate

import pytest

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.application import client_of, new_application
from tests.support.callers import CALLER
from tests.support.documents import read_xml
from tests.support.ec2_responses import EC2Response, error_response, snapshot_item, snapshots_page
from tests.support.endpoints import (
    full_endpoint,
    refusing_endpoint,
    resetting_endpoint,
    silent_endpoint,
    unknown_endpoint,
    untrusted_endpoint,
)
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


def test_429_without_a_code_is_throttling(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(EC2Response(b"<html>slow down</html>", 429))
    assert programmed_client.get(SNAPSHOT, status=502).headers["Retry-After"]


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 500, 503])
@pytest.mark.parametrize("body", [b"", b"<html><h1>Forbidden</h1></html>", b"<Response/>"])
def test_status_without_an_ec2_error_document_is_502(client_with, programmed_ec2, status, body):
    programmed_ec2.respond = always(EC2Response(body, status))
    assert client_with(retry_attempts=1).get(SNAPSHOT, status=502).headers["Retry-After"]


@pytest.mark.parametrize("address", [SNAPSHOTS, f"{SNAPSHOTS}?id=snap-12345678", "/api/realms"])
def test_every_read_is_502_without_an_ec2_error_document(client_with, programmed_ec2, address):
    programmed_ec2.respond = always(EC2Response(b"<Response/>", 404))
    assert client_with(retry_attempts=1).get(address, status=502).headers["Retry-After"]


def test_delete_is_502_without_an_ec2_error_document(client_with, programmed_ec2):
    programmed_ec2.respond = always(EC2Response(b"<Response/>", 404))
    client_with(retry_attempts=1).delete(SNAPSHOT, status=502)


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


def dated(response, seconds):
    """Add the time of a server whose clock differs by some seconds from this one."""
    date = formatdate(time.time() + seconds, usegmt=True)
    return EC2Response(response.body, response.status, (*response.headers, ("Date", date)))


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (("RequestExpired",), None),
        (("InvalidSecurity.RequestHasExpired",), None),
        (("SignatureDoesNotMatch", 403, "Signature expired: 20111111T00Z is now ..."), None),
        (("AuthFailure", 401, "Signature not yet current: 20111111T000000Z"), None),
        (("AuthFailure", 401), 420),
        (("SignatureDoesNotMatch", 403), -3600),
    ],
)
def test_wrong_clock_is_a_failure_that_blames_it(
    programmed_client, programmed_ec2, increase_of, caplog, error, seconds
):
    response = error_response(*error)
    programmed_ec2.respond = always(dated(response, seconds) if seconds else response)
    for address in (SNAPSHOT, "/api?force_auth=1"):
        answer = programmed_client.get(address, status=502)
        assert "The clock of this server is wrong." in read_xml(answer).findtext("message")
        assert "Retry-After" not in answer.headers
    assert increase_of("dcproxy_ec2_requests_total", "DescribeSnapshots", "failed") == 1
    operation = "storage_snapshots.show"
    assert increase_of("dcproxy_requests_total", "502", "failed", operation) == 1
    assert log_line(caplog).cause.startswith("clock")


@pytest.mark.parametrize("code", ["AuthFailure", "SignatureDoesNotMatch"])
def test_quoted_request_of_a_wrong_signature_is_left_out(
    programmed_client, programmed_ec2, caplog, code
):
    message = "It does not match.\n\nThe Canonical String was\nx-amz-security-token:TOKEN"
    programmed_ec2.respond = always(error_response(code, 401, message))
    answer = programmed_client.get(f"{SNAPSHOTS}?format=xml", status=401)
    assert read_xml(answer).findtext("message") == f"{code}: It does not match."
    assert "TOKEN" not in caplog.text + str(log_line(caplog).error)


@pytest.mark.parametrize("entity", ['"RESOLVED"', 'SYSTEM "file:///etc/passwd"'])
def test_error_document_with_a_document_type_is_not_parsed(
    programmed_client, programmed_ec2, entity
):
    document = error_response("InvalidSnapshot.NotFound").body.replace(b"EC2 says", b"&e;")
    prolog = f"<!DOCTYPE Response [<!ENTITY e {entity}>]>".encode()
    programmed_ec2.respond = always(EC2Response(prolog + document, 400))
    answer = programmed_client.get(f"{SNAPSHOT}?format=xml", status=502)
    assert "status 400 and no error code" in read_xml(answer).findtext("message")


def test_huge_error_document_is_not_parsed(programmed_client, programmed_ec2):
    error = error_response("InvalidSnapshot.NotFound", message="x" * 100_000)
    programmed_ec2.respond = always(error)
    answer = programmed_client.get(f"{SNAPSHOT}?format=xml", status=502)
    assert "status 400 and no error code" in read_xml(answer).findtext("message")


@pytest.mark.parametrize("seconds", [-100, 0, 200])
def test_clock_that_is_nearly_right_is_not_blamed(programmed_client, programmed_ec2, seconds):
    programmed_ec2.respond = always(dated(error_response("AuthFailure", 401), seconds))
    programmed_client.get(SNAPSHOT, status=401)


def log_line(caplog):
    return [record for record in caplog.records if record.name == "dcproxy.requests"][-1]


@pytest.mark.parametrize("address", [SNAPSHOTS, "/api/storage_volumes", "/api/realms"])
def test_not_found_for_what_names_no_id_is_repeated_and_then_502(
    programmed_client, programmed_ec2, address
):
    programmed_ec2.respond = always(error_response("InvalidVolume.NotFound"))
    response = programmed_client.get(address, status=502)
    assert response.headers["Retry-After"] == "5"
    assert len(programmed_ec2.requests) == 3
    programmed_ec2.respond = in_turn(
        error_response("InvalidSnapshot.NotFound"), snapshots_page(snapshot_item("snap-12345678"))
    )
    if address == SNAPSHOTS:
        assert len(read_xml(programmed_client.get(address, status=200))) == 1


def test_page_in_html_is_named_by_its_status(programmed_client, programmed_ec2, caplog):
    for status in (500, 403):
        programmed_ec2.respond = always(EC2Response(b"<!DOCTYPE html><p>Oops</p>", status))
        message = read_xml(programmed_client.get(SNAPSHOT, status=502)).findtext("message")
        assert f"responded with status {status} and no error code" in message
        assert log_line(caplog).cause == f"status {status}"


@pytest.mark.parametrize(
    ("endpoint", "message", "cause"),
    [
        (refusing_endpoint, "the connection was refused", "refused: "),
        (unknown_endpoint, "its name cannot be resolved", "dns: "),
        (untrusted_endpoint, "has a TLS certificate that cannot be verified", "certificate: "),
        (full_endpoint, "in time (HTTP_PROXY is not set, if a proxy", "connect timeout: "),
        (resetting_endpoint, "closed the connection", "closed: "),
    ],
)
def test_message_and_log_name_the_cause(endpoint, message, cause, caplog):
    with endpoint() as url:
        client = client_of(new_application(ec2_endpoint_url=url, connect_timeout=0.3))
        assert message in read_xml(client.get(SNAPSHOT, status=502)).findtext("message")
    assert log_line(caplog).cause.startswith(cause)


def test_port_without_tls_is_named(programmed_ec2, caplog):
    url = programmed_ec2.url.replace("http:", "https:")
    client = client_of(new_application(ec2_endpoint_url=url))
    message = read_xml(client.get(SNAPSHOT, status=502)).findtext("message")
    assert "does not speak TLS at this port" in message
    assert log_line(caplog).cause.startswith("tls: ")


def test_proxy_that_refuses_connect_is_named(programmed_ec2, caplog, monkeypatch):
    # That of werkzeug has no method CONNECT.
    monkeypatch.setenv("HTTPS_PROXY", programmed_ec2.url)
    monkeypatch.setenv("NO_PROXY", "")
    client = client_of(new_application(ec2_endpoint_url="https://ec2.example.org"))
    message = read_xml(client.get(SNAPSHOT, status=502)).findtext("message")
    assert message.startswith("The proxy on the way to EC2 in us-east-1 refused the connection")
    assert "Tunnel connection failed" in message
    assert log_line(caplog).cause.startswith("proxy: ")


@pytest.mark.parametrize("proxy", ["http://user:pass-/word@localhost:1", "http://user:pass-#@[::1"])
def test_proxy_whose_url_is_wrong_is_502_and_its_password_is_not_logged(proxy, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "")
    client = client_of(new_application(ec2_endpoint_url="https://ec2.example.org"))
    text = client.get(SNAPSHOT, status=502).text
    assert "could not be called" in text
    assert log_line(caplog).cause.startswith("other: ")
    assert "pass-" not in f"{text}{caplog.text}{vars(log_line(caplog))}"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_file_of_certificates_that_cannot_be_read_is_an_error_at_the_start(
    content, tmp_path, monkeypatch
):
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    with pytest.raises(ValueError, match=r"AWS_CA_BUNDLE .* cannot be read"):
        new_application()


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
