"""Every href leads to a document: a crawl from /api, in each format."""

from urllib.parse import urljoin

import pytest
from lxml import etree

ACCEPT = {"xml": "application/xml", "json": "application/json", "html": "text/html"}


def hrefs_of_xml(response):
    return etree.fromstring(response.body).xpath("//@href")


def hrefs_of_json(response):
    def walk(value):
        if isinstance(value, dict):
            yield from [value["href"]] if "href" in value else []
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from walk(item)

    return walk(response.json)


def hrefs_of_html(response):
    anchors = [a["href"] for a in response.html.find_all("a")]
    forms = [form["action"] for form in response.html.find_all("form")]
    return [href for href in anchors + forms if not href.startswith("#")]


HREFS = {"xml": hrefs_of_xml, "json": hrefs_of_json, "html": hrefs_of_html}


@pytest.mark.parametrize("start", ["/api", "/api;driver=ec2;provider=eu-west-1"])
@pytest.mark.parametrize("format", ["xml", "json", "html"])
def test_every_href_resolves_to_a_document(client, regional_ec2, format, start):
    for region in ("us-east-1", "eu-west-1"):
        ec2 = regional_ec2(region)
        volume = ec2.create_volume(AvailabilityZone=f"{region}a", Size=1)["VolumeId"]
        ec2.create_snapshot(VolumeId=volume)
    seen, waiting = set(), [f"http://localhost:3001{start}"]
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        response = client.get(address, headers={"Accept": ACCEPT[format]}, status=200)
        assert response.headers["Content-Type"].startswith(ACCEPT[format])
        # Every region has the same documents: two are enough.
        hrefs = [urljoin(address, href) for href in HREFS[format](response)]
        waiting += [
            href for href in hrefs if "provider=" not in href or "provider=eu-west-1" in href
        ]
    for collection in ("drivers", "realms", "storage_snapshots", "storage_volumes"):
        assert any(f"/{collection}/" in address for address in seen) or format == "json"
        assert any(address.endswith(f"/{collection}") for address in seen)


def test_every_address_of_the_docs_resolves(anonymous_client):
    docs = etree.fromstring(anonymous_client.get("/api/docs").body)
    for url in docs.xpath("collection/@url"):
        anonymous_client.get(url, status=200)
