"""Trusted proxies and trusted hosts."""

import pytest

FORWARDED = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "cloud.example.org",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/old",
}


def base_of(response):
    return response.lxml.find("link").get("href").partition("/api")[0]


def test_forwarded_headers_are_ignored_by_default(client_with):
    assert base_of(client_with().get("/api", headers=FORWARDED)) == "http://localhost:3001"


def test_forwarded_headers_of_a_trusted_proxy_are_used(client_with):
    client = client_with(trusted_proxies=1)
    assert base_of(client.get("/api", headers=FORWARDED)) == "https://cloud.example.org/old"
    assert base_of(client.get("/api")) == "http://localhost:3001"


def test_log_line_has_the_client_that_a_trusted_proxy_tells(client_with, caplog):
    caplog.set_level("INFO", "dcproxy.requests")
    for proxies in (1, 0):
        client_with(trusted_proxies=proxies).get("/api", headers=FORWARDED)
    trusted, untrusted = caplog.records
    assert (trusted.client, trusted.scheme) == ("192.0.2.1", "https")
    assert (untrusted.client, untrusted.scheme) == (None, "http")


def test_forwarded_values_from_before_the_trusted_proxies_are_ignored(client_with):
    client = client_with(trusted_proxies=1)
    headers = FORWARDED | {"X-Forwarded-Host": "evil.example.com, cloud.example.org"}
    assert base_of(client.get("/api", headers=headers)) == "https://cloud.example.org/old"


def test_forwarded_headers_of_too_few_proxies_are_ignored(client_with):
    client = client_with(trusted_proxies=2)
    assert base_of(client.get("/api", headers=FORWARDED)) == "http://localhost:3001"


@pytest.mark.parametrize("host", ["cloud.example.org", "cloud.example.org:8080", "a.b.example.net"])
def test_trusted_host_is_accepted(client_with, host):
    client = client_with(trusted_hosts=("cloud.example.org", ".example.net"))
    client.get("/api", headers={"Host": host}, status=200)


@pytest.mark.parametrize("host", ["evil.example.com", "cloud.example.org.evil.com", "example.org"])
def test_untrusted_host_is_400(client_with, host):
    client = client_with(trusted_hosts=("cloud.example.org", ".example.net"))
    response = client.get("/api", headers={"Host": host}, status=400)
    assert host in response.lxml.findtext("message")


def test_trusted_hosts_apply_to_the_forwarded_host(client_with):
    client = client_with(trusted_proxies=1, trusted_hosts=("cloud.example.org",))
    client.get("/api", headers=FORWARDED, status=200)
    client.get("/api", headers=FORWARDED | {"X-Forwarded-Host": "evil.example.com"}, status=400)
    client.get("/api", status=400)


NO_PATHS = [".evil.org", "//evil.org", "evil.org", "@evil.org", ":1@evil.org", "/a//evil.org"]


@pytest.mark.parametrize("prefix", NO_PATHS)
@pytest.mark.parametrize("address", ["/api", "/"])
def test_forwarded_prefix_that_is_no_path_is_400(client_with, address, prefix):
    headers = FORWARDED | {"X-Forwarded-Prefix": prefix}
    response = client_with(trusted_proxies=1).get(address, headers=headers, status=400)
    assert "Location" not in response.headers
    assert "it takes one such as /clouds" in response.lxml.findtext("message")


def test_slash_at_the_end_of_a_forwarded_prefix_is_removed(client_with):
    headers = FORWARDED | {"X-Forwarded-Prefix": "/old/"}
    response = client_with(trusted_proxies=1).get("/api", headers=headers)
    assert base_of(response) == "https://cloud.example.org/old"


@pytest.mark.parametrize("path", ["/metrics", "/api", "/"])
def test_prefix_of_a_client_is_part_of_the_path(client_with, path):
    """The environment is that of gunicorn, which takes a header SCRIPT_NAME from loopback."""
    client = client_with()
    client.extra_environ |= {"SCRIPT_NAME": "/x", "HTTP_SCRIPT_NAME": "/x"}
    client.get(path, status=404)


def test_prefix_of_the_server_is_in_links(client_with):
    client = client_with()
    client.extra_environ["SCRIPT_NAME"] = "/clouds"
    assert base_of(client.get("/api")) == "http://localhost:3001/clouds"


@pytest.mark.parametrize("host", ["CLOUD.example.org", "A.Example.Net"])
def test_trusted_hosts_have_no_case(client_with, host):
    client = client_with(trusted_hosts=("Cloud.example.org", ".example.net"))
    client.get("/api", headers={"Host": host}, status=200)


@pytest.mark.parametrize("host", [f"{'a' * 64}.example.net", "a..example.net", ".example.net"])
@pytest.mark.parametrize("trusted_hosts", [(), (".example.net",)])
def test_host_with_labels_of_a_wrong_length_is_400(client_with, host, trusted_hosts):
    client = client_with(trusted_hosts=trusted_hosts)
    client.get("/api", headers={"Host": host}, status=400)
