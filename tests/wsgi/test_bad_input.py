"""Invalid input is a 4xx, and the next request is served."""

import time

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.documents import read_xml
from tests.support.ec2_responses import error_response
from tests.support.package import MAX_BODY_BYTES
from tests.support.responders import always

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xx"


def post(client, body, content_type=FORM, status=400, address=SNAPSHOTS):
    headers = {"Content-Type": content_type}
    body = body.encode() if isinstance(body, str) else body
    return client.request(address, method="POST", body=body, headers=headers, status=status)


@pytest.mark.parametrize(
    "id",
    [
        "snap-00000000",
        "snap-0123456789abcdef0",
        "foo",
        "snap-",
        "snap-1234567",
        "snap-zzzzzzzz",
        "snap-0123456789abcdef01",
        "vol-12345678",
        "%3Cscript%3E",
        "..%2fetc",
        "a" * 5000,
        "snap-12345678%00",
        "snap-12345678%0d%0aX:1",
        "snap-12345678%0a",
        "%E2%80%A8",
        "%ff%fe",
        "snap-12345678/",
        "snap-12345678;x=1",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_or_malformed_id_is_404(client, method, id):
    root = read_xml(client.request(f"{SNAPSHOTS}/{id}", method=method, status=404))
    assert root.findtext("code") == "404"


@pytest.mark.parametrize(
    "address",
    ["/x", "/apix", "/api/nothing", "/API", f"{SNAPSHOTS}/", f"{SNAPSHOTS}/.", "/api/realms/"],
)
def test_unknown_address_is_404(client, address):
    assert read_xml(client.get(address, status=404)).tag == "error"


@pytest.mark.parametrize("format", ["xml", "json", "html"])
def test_characters_illegal_in_xml_do_not_break_the_error(client, format):
    client.get(f"{SNAPSHOTS}/%00%01%ef%bf%be]]>?format={format}", status=404)


@pytest.mark.parametrize(
    "body", ["", "volume_id=", "name=x", "volume_id", "VOLUME_ID=vol-12345678", "&&&"]
)
def test_missing_volume_id_is_400_naming_the_parameter(client, body):
    assert "volume_id is missing" in read_xml(post(client, body)).findtext("message")


@pytest.mark.parametrize("volume_id", ["foo", "snap-12345678", "vol-", "vol-1' or '1", "vol-1 "])
def test_malformed_volume_id_is_400_naming_the_parameter(client, volume_id):
    response = client.post(SNAPSHOTS, {"volume_id": volume_id}, status=400)
    message = read_xml(response).findtext("message")
    assert "volume_id" in message
    assert repr(volume_id) in message


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", '{"volume_id": "vol-12345678"}'),
        ("application/xml", "<volume_id>vol-12345678</volume_id>"),
        ("text/plain", "volume_id=vol-12345678"),
    ],
)
def test_body_that_is_not_a_form_is_415_naming_the_supported_types(client, content_type, body):
    message = read_xml(post(client, body, content_type, 415)).findtext("message")
    assert content_type in message
    assert "application/x-www-form-urlencoded" in message
    assert "multipart/form-data" in message


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", '{"volume_id": "vol-12345678"}'),
        ("text/plain", "anything"),
        ("application/octet-stream", b"\xff\x00"),
    ],
)
def test_body_of_another_type_is_ignored_where_the_query_has_parameters(
    client, volume_id, content_type, body
):
    address = f"{SNAPSHOTS}?volume_id={volume_id}&description=of+the+query"
    snapshot = read_xml(post(client, body, content_type, 201, address))
    assert snapshot.find("storage_volume").get("id") == volume_id
    assert snapshot.findtext("description") == "of the query"


def test_body_of_another_type_is_415_where_the_query_lacks_the_volume(client):
    post(
        client, '{"volume_id": "vol-12345678"}', "application/json", 415, f"{SNAPSHOTS}?format=xml"
    )


def test_content_type_of_an_empty_body_is_ignored(client, volume_id):
    address = f"{SNAPSHOTS}?volume_id={volume_id}"
    assert read_xml(post(client, "", "application/json", 201, address)).tag == "storage_snapshot"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (MULTIPART, b"--xx\r\nContent-Disposition: form-data; name=volume_id\r\n\r\nvol-1"),
        (MULTIPART, b"volume_id=vol-12345678"),
        (MULTIPART, b"--xx\r\nContent-Disposition: form-data\r\n\r\nx\r\n--xx--\r\n"),
        (MULTIPART, b"--yy\r\n\r\n--yy--"),
        ("multipart/form-data", b"--xx--"),
        (MULTIPART, b'--xx\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xff\r\n--xx--'),
        (FORM, b"name=%ff%00&volume_id=vol-12345678"),
        (FORM, b"name=%00&volume_id=vol-12345678"),
        (FORM, b"a=1&" * 10_000),
    ],
)
def test_malformed_form_is_400(client, content_type, body):
    assert "body" in read_xml(post(client, body, content_type)).findtext("message")


@pytest.mark.parametrize("text", ["%00", "%ff%00", "%ef%bf%be"])
def test_query_that_no_document_could_hold_is_400(client, text):
    message = read_xml(client.get(f"{SNAPSHOTS}?id={text}", status=400)).findtext("message")
    assert "query" in message


def test_body_over_the_limit_is_413(client):
    body = b"volume_id=" + b"x" * MAX_BODY_BYTES
    assert str(MAX_BODY_BYTES) in read_xml(post(client, body, FORM, 413)).findtext("message")


def test_body_shorter_than_its_content_length_is_400(client):
    headers = {"Content-Type": FORM, "Content-Length": "100"}
    client.request(SNAPSHOTS, method="POST", body=b"x", headers=headers, status=400)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("/api", "GET, HEAD, OPTIONS, POST"),
        (SNAPSHOTS, "GET, HEAD, OPTIONS, POST"),
        (f"{SNAPSHOTS}/snap-12345678", "DELETE, GET, HEAD, OPTIONS, POST"),
    ],
)
def test_unsupported_method_is_405(client, method, address, allowed):
    response = client.request(address, method=method, status=405)
    assert response.headers["Allow"] == allowed
    assert read_xml(response).findtext("code") == "405"


@pytest.mark.parametrize(
    ("address", "header", "named"),
    [
        ("/api;provider=mars-1/storage_snapshots", None, "mars-1"),
        ("/api;provider=evil.example.org/storage_snapshots", None, "evil.example.org"),
        ("/api;provider=us-east-1.evil%23/storage_snapshots", None, "us-east-1.evil#"),
        (SNAPSHOTS, "mars-1", "mars-1"),
        (SNAPSHOTS, "evil.example.org", "evil.example.org"),
        (SNAPSHOTS, "../x", "../x"),
    ],
)
def test_unknown_region_is_400_listing_the_regions(
    programmed_client, programmed_ec2, address, header, named
):
    headers = {"X-Deltacloud-Provider": header} if header else {}
    response = programmed_client.get(address, headers=headers, status=400)
    message = read_xml(response).findtext("message")
    assert repr(named) in message
    assert "eu-west-1" in message
    assert programmed_ec2.requests == []


def test_unknown_driver_is_400_naming_the_supported_one(client):
    for address, headers in (
        ("/api;driver=mock/storage_snapshots", {}),
        (SNAPSHOTS, {"X-Deltacloud-Driver": "mock"}),
    ):
        message = read_xml(client.get(address, headers=headers, status=400)).findtext("message")
        assert message == "There is no driver 'mock', only ec2."


@pytest.mark.parametrize("owner", ["me", "12345", "self;x", "all", "1234567890123"])
def test_invalid_owner_is_400(client, owner):
    response = client.get(SNAPSHOTS, {"owner_id": owner}, status=400)
    assert "owner_id" in read_xml(response).findtext("message")


@pytest.mark.parametrize(
    "content_type", ["Application/X-WWW-Form-URLEncoded", "application/x-www-form-urlencoded; a=b"]
)
def test_media_type_of_a_form_is_case_insensitive(client, volume_id, content_type):
    post(client, f"volume_id={volume_id}", content_type, 201)


@pytest.mark.parametrize("text", [b"caf%E9", b"caf\xe9"])
def test_form_that_is_not_utf_8_is_latin_1(client, volume_id, text):
    body = b"volume_id=" + volume_id.encode() + b"&name=" + text
    assert read_xml(post(client, body, FORM, 201)).findtext("name") == "caf\u00e9"


def test_query_that_is_not_utf_8_is_latin_1(client, volume_id):
    address = f"{SNAPSHOTS}?volume_id={volume_id}&description=caf%E9"
    assert read_xml(post(client, "", FORM, 201, address)).findtext("description") == "caf\u00e9"


def test_utf_8_is_not_read_as_latin_1(client, volume_id):
    body = f"volume_id={volume_id}&name=caf%C3%A9&description=caf\u00e9"
    snapshot = read_xml(post(client, body, FORM, 201))
    assert snapshot.findtext("name") == snapshot.findtext("description") == "caf\u00e9"


@pytest.mark.parametrize(
    "id",
    ["snap-1", "snap-123456789", "snap-0123456789abcdef", "snap-g2345678", "SNAP-12345678", ""],
)
def test_malformed_snapshot_id_does_not_reach_ec2(programmed_client, programmed_ec2, id):
    if id:
        programmed_client.get(f"{SNAPSHOTS}/{id}", status=404)
        programmed_client.delete(f"{SNAPSHOTS}/{id}", status=404)
    assert len(read_xml(programmed_client.get(f"{SNAPSHOTS}?id={id}", status=200))) == 0
    assert programmed_ec2.requests == []


@pytest.mark.parametrize("id", ["vol-1", "vol-123456789", "vol-0123456789abcdef", "vol-g2345678"])
def test_malformed_volume_id_does_not_reach_ec2(programmed_client, programmed_ec2, id):
    volumes = "/api/storage_volumes"
    programmed_client.get(f"{volumes}/{id}", status=404)
    assert len(read_xml(programmed_client.get(f"{volumes}?id={id}", status=200))) == 0
    programmed_client.post(SNAPSHOTS, {"volume_id": id}, status=400)
    assert programmed_ec2.requests == []


@pytest.mark.parametrize("id", ["snap-12345678", "snap-0123456789abcdef0", "snap-ABCDEF01"])
def test_ids_of_8_and_17_hexadecimal_digits_reach_ec2(client_with, programmed_ec2, id):
    client_with().get(f"{SNAPSHOTS}/{id}", status=404)
    [request] = programmed_ec2.requests
    assert request.parameters["SnapshotId.1"] == id


@pytest.mark.parametrize("collection", ["storage_snapshots", "storage_volumes"])
def test_id_that_ec2_finds_malformed_is_404_and_an_empty_list(
    programmed_client, programmed_ec2, collection
):
    kind, prefix = {
        "storage_snapshots": ("Snapshot", "snap"),
        "storage_volumes": ("Volume", "vol"),
    }[collection]
    programmed_ec2.respond = always(error_response(f"Invalid{kind}ID.Malformed"))
    address = f"/api/{collection}"
    programmed_client.get(f"{address}/{prefix}-12345678", status=404)
    listed = programmed_client.get(f"{address}?id={prefix}-12345678", status=200)
    assert len(read_xml(listed)) == 0


def multipart(name, value, more=""):
    head = f'Content-Disposition: form-data; name="{name}"{more}'
    return f"--xx\r\n{head}\r\n\r\n{value}\r\n--xx--\r\n".encode()


@pytest.mark.parametrize(
    "more",
    ['; filename="a.txt"', '; filename=""', '; filename="x"\r\nContent-Type: application/x-any'],
)
def test_part_with_a_file_name_is_a_value(client, volume_id, more):
    snapshot = read_xml(post(client, multipart("volume_id", volume_id, more), MULTIPART, 201))
    assert snapshot.find("storage_volume").get("id") == volume_id


def test_part_with_a_file_name_needs_a_name(client):
    body = b"--xx\r\nContent-Disposition: form-data; filename=a\r\n\r\nx\r\n--xx--\r\n"
    post(client, body, MULTIPART, 400)


@pytest.mark.parametrize("text", ['\\"', "\\", "a;", "%41", '"; a="\\"'])
def test_escaped_name_of_a_part_takes_little_time(client, text):
    space = MAX_BODY_BYTES - 100
    before = time.process_time()
    post(client, multipart(text * (space // len(text)), "x"), MULTIPART, 400)
    assert time.process_time() - before < 2
    post(client, multipart(text * (1_000_000 // len(text)), "x"), MULTIPART, 413)
