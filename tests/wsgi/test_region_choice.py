"""Pages name their region, and lead to the same page in another one."""

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.ec2_responses import error_response
from tests.support.responders import always

HTML = {"Accept": "text/html"}
ENVIRON = {"HTTP_ACCEPT": "text/html"}


def region_of(page):
    [link] = [a for a in page.html.nav.find_all("a") if "egion" in a.text]
    return link.text


def choose(page, region, base="http://localhost:3001"):
    """Follow the links of a page to another region, and give the address that it leads to."""
    choice = page.click(region_of(page), extra_environ=ENVIRON)
    [link] = [a for a in choice.html.main.find_all("a") if a.text == region]
    assert link["href"].startswith(f"{base}/api;driver=ec2;provider={region}")
    return link["href"].removeprefix(f"{base}/api;driver=ec2;provider={region}")


@pytest.mark.parametrize(
    ("address", "headers", "region"),
    [
        ("/api", {}, "us-east-1"),
        (SNAPSHOTS, {}, "us-east-1"),
        (f"/api;provider=eu-west-1{SNAPSHOTS[4:]}", {}, "eu-west-1"),
        ("/api;driver=ec2;provider=eu-west-1/docs", {}, "eu-west-1"),
        (f"{SNAPSHOTS}?api[provider]=us-west-2", {}, "us-west-2"),
        (SNAPSHOTS, {"X-Deltacloud-Provider": "us-west-2"}, "us-west-2"),
    ],
)
def test_every_page_names_its_region(programmed_client, address, headers, region):
    page = programmed_client.get(address, headers=HTML | headers)
    assert region_of(page) == f"Region: {region}"
    choice = page.click(region_of(page), extra_environ=ENVIRON)
    if not headers:
        [current] = choice.html.main.find_all(attrs={"aria-current": "true"})
        assert current.text == region or "api[provider]" in address


@pytest.mark.parametrize("start", ["/api", "/api;driver=ec2;provider=eu-west-1"])
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", ""),
        ("/storage_snapshots", "/storage_snapshots"),
        (
            "/storage_snapshots?owner_id=&search=a%20%26b%22",
            "/storage_snapshots?owner_id=&search=a%20%26b%22",
        ),
        ("/storage_snapshots/new?name=x", "/storage_snapshots/new?name=x"),
        ("/docs", "/docs"),
        ("/drivers", "/drivers"),
        ("/drivers/ec2", ""),
        ("/docs/realms", "/docs"),
    ],
)
def test_choice_of_a_region_keeps_the_page(programmed_client, start, address, expected):
    page = programmed_client.get(start + address, headers=HTML)
    assert choose(page, "ap-southeast-2") == expected


def test_members_and_errors_lead_to_their_collection(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(error_response("InvalidSnapshot.NotFound"))
    page = programmed_client.get(f"{SNAPSHOTS}/snap-12345678", headers=HTML, status=404)
    assert choose(page, "eu-west-1") == "/storage_snapshots"
    page = programmed_client.post(SNAPSHOTS, {"volume_id": "x"}, headers=HTML, status=400)
    assert choose(page, "eu-west-1") == "/storage_snapshots"


def test_choice_works_behind_a_prefix(programmed_client):
    page = programmed_client.get(
        "/api/docs", headers=HTML, extra_environ={"SCRIPT_NAME": "/clouds/1"}
    )
    [link] = [a for a in page.html.nav.find_all("a") if "egion" in a.text]
    address = link["href"].removeprefix("http://localhost:3001/clouds/1")
    choice = programmed_client.get(
        address, headers=HTML, extra_environ={"SCRIPT_NAME": "/clouds/1"}
    )
    base = "http://localhost:3001/clouds/1/api;driver=ec2;provider=eu-west-1"
    assert f"{base}/docs" in [a["href"] for a in choice.html.main.find_all("a")]


@pytest.mark.parametrize("page", ["//evil.example", "javascript:alert(1)", '"><script>', "/a\nb"])
def test_page_to_return_to_never_leaves_the_server(anonymous_client, page):
    response = anonymous_client.get("/api/drivers/ec2", {"page": page}, headers=HTML)
    assert not response.html.find_all("script")
    hrefs = [a["href"] for a in response.html.main.find_all("a")]
    assert hrefs
    assert all(href.startswith("http://localhost:3001/api;driver=ec2;provider=") for href in hrefs)
