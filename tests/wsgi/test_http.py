"""HEAD, OPTIONS, conditional requests, and the headers of every response."""

from urllib.parse import urlencode

import pytest
from webob import Request

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.documents import read_xml

ADDRESSES = [
    "/api",
    "/api/docs",
    "/api/docs/storage_snapshots",
    "/api/drivers",
    "/api/drivers/ec2",
    "/api/realms",
    "/api/realms/us-east-1a",
    "/api/storage_volumes",
    SNAPSHOTS,
]


@pytest.mark.parametrize("format", ["xml", "json", "html"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_head_is_get_without_the_body(client, address, format):
    same = {"X-Request-Id": "one-and-the-same"}
    of_get = client.get(f"{address}?format={format}", headers=same)
    of_head = client.head(f"{address}?format={format}", headers=same)
    assert of_head.body == b""
    for response in (of_get, of_head):
        response.headers.pop("X-Backend-Runtime", None)  # differs between two requests
    assert dict(of_head.headers) == dict(of_get.headers)


def test_head_of_an_error_has_its_status(client):
    assert client.head(f"{SNAPSHOTS}/snap-00000000", status=404).body == b""


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/api", "GET, HEAD, OPTIONS, POST"),
        ("/api/drivers/ec2", "GET, HEAD, OPTIONS"),
        (SNAPSHOTS, "GET, HEAD, OPTIONS, POST"),
        (f"{SNAPSHOTS}/new", "GET, HEAD, OPTIONS"),
        (SNAPSHOT, "DELETE, GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_lists_the_methods_without_credentials(anonymous_client, address, allowed):
    response = anonymous_client.options(address, status=200)
    assert response.headers["Allow"] == allowed
    assert response.body == b""
    assert "Content-Type" not in response.headers


def test_options_of_an_unknown_address_is_404(anonymous_client):
    anonymous_client.options("/api/nothing", status=404)


def test_matching_etag_is_304_without_a_body(client, ec2, snapshot_id):
    address = f"{SNAPSHOTS}/{snapshot_id}"
    tag = client.get(address).headers["ETag"]
    unchanged = client.get(address, headers={"If-None-Match": tag}, status=304)
    assert unchanged.body == b""
    assert unchanged.headers["ETag"] == tag
    assert unchanged.headers["Vary"] == "Accept, Authorization"
    ec2.create_tags(Resources=[snapshot_id], Tags=[{"Key": "Name", "Value": "changed"}])
    changed = client.get(address, headers={"If-None-Match": tag}, status=200)
    assert changed.headers["ETag"] != tag


def test_range_header_is_ignored(client, snapshot_id):
    address = f"{SNAPSHOTS}/{snapshot_id}"
    response = client.get(address, headers={"Range": "bytes=0-9"}, status=200)
    assert response.body == client.get(address).body


@pytest.mark.parametrize("address", ["/api", "/api/nothing", SNAPSHOTS])
def test_headers_of_every_response(anonymous_client, address):
    response = anonymous_client.get(address, expect_errors=True)
    assert response.headers["Cache-Control"] == "max-age=0, private, must-revalidate"
    assert response.headers["Server"] == "Apache-Deltacloud/1.1.3"
    assert response.headers["X-Deltacloud-Driver"] == "ec2"
    assert response.headers["Via"] == "1.1 dcproxy"
    assert response.headers["Vary"] == "Accept, Authorization"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("address", ["/healthz", "/metrics"])
def test_headers_of_every_response_outside_of_the_api(anonymous_client, address):
    response = anonymous_client.get(address)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


COLLECTION_ADDRESSES = [
    address for address in ADDRESSES if not address.startswith("/api/docs") and address != "/api"
]


@pytest.mark.parametrize("address", COLLECTION_ADDRESSES)
@pytest.mark.parametrize("format", ["xml", "json", "html"])
def test_runtime_is_sent_with_lists_and_members(client, address, format):
    runtime = client.get(f"{address}?format={format}").headers["X-Backend-Runtime"]
    assert 0 < float(runtime) < 60


def test_runtime_is_sent_with_200_only(client, snapshot_id, volume_id):
    address = f"{SNAPSHOTS}/{snapshot_id}"
    assert "X-Backend-Runtime" in client.get(address).headers
    others = [
        client.get(f"{SNAPSHOTS}/snap-00000000", status=404),
        client.get(f"{SNAPSHOTS}?format=yaml", status=406),
        client.post(SNAPSHOTS, {"volume_id": volume_id}, status=201),
        client.delete(address, status=204),
        client.options(SNAPSHOTS, status=200),
        client.get(f"{SNAPSHOTS}/new?format=html", status=200),
    ]
    assert [response for response in others if "X-Backend-Runtime" in response.headers] == []


@pytest.mark.parametrize("address", ["/api", "/api/docs", "/api/docs/realms"])
def test_runtime_is_not_sent_outside_of_collections(client, address):
    assert "X-Backend-Runtime" not in client.get(address).headers


@pytest.mark.parametrize("override", ["DELETE", "delete"])
def test_method_override_of_a_post_deletes(client, snapshot_id, override):
    address = f"{SNAPSHOTS}/{snapshot_id}"
    headers = {"X-HTTP-Method-Override": override}
    assert client.post(address, headers=headers, status=204).body == b""
    client.get(address, status=404)


@pytest.mark.parametrize(
    ("method", "override", "status"),
    [
        ("POST", "PUT", 405),
        ("POST", "GET", 405),
        ("POST", "", 405),
        ("PUT", "DELETE", 405),
        ("GET", "DELETE", 200),
    ],
)
def test_method_override_does_nothing_else(client, snapshot_id, method, override, status):
    address = f"{SNAPSHOTS}/{snapshot_id}"
    headers = {"X-HTTP-Method-Override": override}
    client.request(address, method=method, headers=headers, status=status)
    client.get(address, status=200)


def test_method_override_needs_credentials_and_the_own_site(client, anonymous_client, snapshot_id):
    address = f"{SNAPSHOTS}/{snapshot_id}"
    override = {"X-HTTP-Method-Override": "DELETE"}
    anonymous_client.post(address, headers=override, status=401)
    client.post(address, headers=override | {"Origin": "https://evil.example.org"}, status=403)
    client.get(address, status=200)


def test_method_override_ignores_a_body_of_another_type(client, snapshot_id):
    address = f"{SNAPSHOTS}/{snapshot_id}"
    client.post_json(address, {}, headers={"X-HTTP-Method-Override": "DELETE"}, status=204)


def test_method_override_where_nothing_can_be_deleted_is_405(client):
    response = client.post(SNAPSHOTS, headers={"X-HTTP-Method-Override": "DELETE"}, status=405)
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(("scheme", "port"), [("http", "80"), ("https", "443")])
def test_unix_socket_needs_no_host_in_http_1_0(client, scheme, port):
    """Read the environ as gunicorn makes it."""
    client.extra_environ.clear()
    socket = {"SERVER_NAME": "/run/dcproxy.socket", "SERVER_PORT": ""}
    request = client.RequestClass.blank("/api", {"SERVER_PROTOCOL": "HTTP/1.0", **socket})
    del request.environ["HTTP_HOST"]
    request.environ["wsgi.url_scheme"] = scheme
    root = read_xml(client.do_request(request, status=200))
    assert root.find("link").get("href").startswith(f"{scheme}://localhost/api/")


@pytest.mark.parametrize("host", ["localhost:", "cloud.example.org:", "[::1]:"])
def test_host_with_an_empty_port_is_a_host(client, host):
    root = read_xml(client.get("/api", headers={"Host": host}, status=200))
    assert root.find("link").get("href").startswith(f"http://{host[:-1]}/api/")


@pytest.mark.parametrize(
    ("target", "base"),
    [
        ("http://cloud.example.org/api", "http://cloud.example.org/api/"),
        ("HTTP://cloud.example.org:8080/api?x=http://b/", "http://cloud.example.org:8080/api/"),
        ("https://cloud.example.org/api", "http://cloud.example.org/api/"),
        ("/api?x=http://b/", "http://localhost:3001/api/"),
    ],
)
def test_absolute_target_decides_about_links(client, target, base):
    root = read_xml(client.get("/api", extra_environ={"RAW_URI": target}))
    assert root.find("link").get("href").startswith(base)


@pytest.mark.parametrize("host", ["user@cloud.example.org", "", "a b"])
def test_absolute_target_with_a_malformed_host_is_400(client, host):
    client.get("/api", extra_environ={"RAW_URI": f"http://{host}/api"}, status=400)


@pytest.mark.parametrize("target", ["user:SECRET@localhost:80", "SECRET:443"])
def test_target_of_connect_is_no_path_and_not_repeated(client, caplog, target):
    request = client.RequestClass.blank("/", {"REQUEST_METHOD": "CONNECT"})
    request.environ.update(PATH_INFO=target, RAW_URI=target)
    response = request.get_response(client.app)  # WebTest sends no such target
    assert response.status_code == 405
    assert "SECRET" not in response.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(("version", "status"), [("HTTP/1.1", 400), ("HTTP/1.0", 200)])
def test_missing_host_is_400_for_http_1_1_only(client, version, status):
    client.extra_environ.clear()
    request = client.RequestClass.blank("/api", {"SERVER_PROTOCOL": version})
    del request.environ["HTTP_HOST"]
    root = read_xml(client.do_request(request, status=status))
    if status == 400:
        assert root.findtext("message") == "The Host header is missing, or is not a host name."
    else:
        assert root.tag == "api"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "//", "/.", "/api/.."])
@pytest.mark.parametrize(
    ("prefix", "encoded"), [("", ""), ("/clouds/old", "/clouds/old"), ("/a b", "/a%20b")]
)
def test_root_redirects_to_the_entry_point(anonymous_client, method, path, prefix, encoded):
    """Read the response itself: WebTest makes ``Location`` absolute, old gems do not."""
    response = respond(anonymous_client, path, prefix, method=method)
    assert response.status_code == 301
    assert response.headers["Location"] == f"http://localhost{encoded}/api"
    assert response.body == b""


def test_redirect_keeps_the_host_that_the_client_knows(anonymous_client):
    headers = {"Host": "cloud.example.org:3001"}
    response = respond(anonymous_client, "/", headers=headers)
    assert response.headers["Location"] == "http://cloud.example.org:3001/api"


@pytest.mark.parametrize("host", ["evil/x", "a b", ""])
def test_redirect_to_a_malformed_host_is_400(anonymous_client, host):
    assert respond(anonymous_client, "/", headers={"Host": host}).status_code == 400


def respond(client, path, prefix="", **options):
    request = Request.blank(path, environ={"SCRIPT_NAME": prefix}, **options)
    return request.get_response(client.app)


@pytest.mark.parametrize(
    ("given", "matrix"),
    [
        ({"driver": "ec2"}, ";driver=ec2"),
        ({"provider": "eu-west-1"}, ";provider=eu-west-1"),
        ({"driver": "ec2", "provider": "eu-west-1", "x": "y"}, ";driver=ec2;provider=eu-west-1"),
        ({"driver": "ec2", "provider": "default"}, ";driver=ec2"),
        ({"driver": "", "provider": "a/b;c\r\n"}, ";provider=a%2Fb%3Bc%0D%0A"),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("where", ["form", "query"])
def test_post_to_the_entry_point_redirects_to_a_provider(anonymous_client, where, given, matrix):
    if where == "form":
        response = anonymous_client.post("/api", given, status=301)
    else:
        response = anonymous_client.post(f"/api?{urlencode(given)}", status=301)
    assert response.headers["Location"] == f"http://localhost:3001/api{matrix}"


def test_redirect_to_a_provider_leads_to_its_entry_point(anonymous_client):
    chosen = anonymous_client.post("/api", {"driver": "ec2", "provider": "eu-west-1"}).follow()
    assert read_xml(chosen).get("provider") == "eu-west-1"
    unknown = anonymous_client.post("/api", {"driver": "mock"}, status=301)
    unknown.follow(status=400)


@pytest.mark.parametrize("date", ["Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +9"])
def test_date_of_a_conditional_request_is_ignored(anonymous_client, date):
    anonymous_client.get("/api", headers={"If-Modified-Since": date}, status=200)


def test_prefix_that_is_not_utf_8_is_400(anonymous_client):
    request = Request.blank("/api", environ={"SCRIPT_NAME": "/\xff"})
    assert request.get_response(anonymous_client.app).status_code == 400
