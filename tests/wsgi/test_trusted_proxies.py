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
