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


def choose(page, region):
    """Choose another region in the form that a page leads to, and give the rest of the address."""
    form = page.click(region_of(page), extra_environ=ENVIRON).form
    form["provider"] = region
    location = form.submit(status=301, extra_environ=ENVIRON).headers["Location"]
    base = f"http://localhost:3001/api;driver=ec2;provider={region}"
    assert location.startswith(base)
    return location.removeprefix(base)


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
    if not headers and "api[provider]" not in address:
        assert choice.form["provider"].value == region


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
    assert choice.form.action == "http://localhost:3001/clouds/1/api"
    choice.form["provider"] = "eu-west-1"
    response = programmed_client.post(
        "/api", choice.form.submit_fields(), extra_environ={"SCRIPT_NAME": "/clouds/1"}, status=301
    )
    base = "http://localhost:3001/clouds/1/api;driver=ec2;provider=eu-west-1"
    assert response.headers["Location"] == f"{base}/docs"


@pytest.mark.parametrize(
    "page",
    ["//evil.example", ".evil.example", "@evil.example", "javascript:alert(1)", '"><script>'],
)
def test_page_to_return_to_never_leaves_the_server(anonymous_client, page):
    choice = anonymous_client.get("/api/drivers/ec2", {"page": page}, headers=HTML)
    assert not choice.html.find_all("script")
    assert choice.form["page"].value == page
    location = choice.form.submit(status=301).headers["Location"]
    assert location.startswith("http://localhost:3001/api;driver=ec2;provider=")


@pytest.mark.parametrize("page", ["/a\nb", "/a\r\nSet-Cookie: a=b", "/a b", "/\u00e9", "a"])
def test_page_to_return_to_that_is_no_address_is_ignored(anonymous_client, page):
    response = anonymous_client.post("/api", {"provider": "eu-west-1", "page": page}, status=301)
    assert response.headers["Location"] == "http://localhost:3001/api;provider=eu-west-1"
