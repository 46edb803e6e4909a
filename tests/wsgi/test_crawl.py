"""Every href leads to a document, and every action works: a crawl from /api, in each format."""

from functools import cache
from urllib.parse import urljoin

import pytest
from lxml import etree

from tests.support.application import client_of, shared_application

ACCEPT = {"xml": "application/xml", "json": "application/json", "html": "text/html"}


def hrefs_of_xml(response):
    return etree.fromstring(response.body).xpath("//@href[not(ancestor::actions)]")


def hrefs_of_json(response):
    def walk(value):
        if isinstance(value, dict):
            yield from [value["href"]] if "href" in value and "method" not in value else []
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from walk(item)

    return walk(response.json)


def hrefs_of_html(response):
    return [href for href in response.lxml.xpath("//a/@href") if not href.startswith("#")]


HREFS = {"xml": hrefs_of_xml, "json": hrefs_of_json, "html": hrefs_of_html}


@pytest.fixture(scope="module")
def default_region(regional_ec2):
    """Create a snapshot in two regions. The default region has nothing of other tests."""
    for region in ("sa-east-1", "eu-west-1"):
        ec2 = regional_ec2(region)
        volume = ec2.create_volume(AvailabilityZone=f"{region}a", Size=1)["VolumeId"]
        ec2.create_snapshot(VolumeId=volume)
    return "sa-east-1"


@pytest.mark.parametrize("start", ["/api", "/api;driver=ec2;provider=eu-west-1"])
@pytest.mark.parametrize("format", ["xml", "json", "html"])
def test_every_href_resolves_to_a_document(moto_url, default_region, format, start):
    client = client_of(shared_application(ec2_endpoint_url=moto_url, provider=default_region))
    allowed = cache(lambda address: client.options(address).allow)
    seen, waiting = set(), [f"http://localhost:3001{start}"]
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        response = client.get(address, headers={"Accept": ACCEPT[format]}, status=200)
        assert response.headers["Content-Type"].startswith(ACCEPT[format])
        if format == "html":
            for form in response.lxml.iter("form"):
                assert form.get("method", "get").upper() in allowed(form.get("action"))
        # Every region has the same documents: two are enough.
        hrefs = [urljoin(address, href) for href in HREFS[format](response)]
        waiting += [
            href for href in hrefs if "provider=" not in href or "provider=eu-west-1" in href
        ]
    for collection in ("drivers", "realms", "storage_snapshots", "storage_volumes"):
        assert any(f"/{collection}/" in address for address in seen) or format == "json"
        assert any(address.endswith(f"/{collection}") for address in seen)


def actions_of_xml(response):
    return {
        link.get("rel"): (link.get("method"), link.get("href"))
        for link in etree.fromstring(response.body).xpath("actions/link")
    }


def actions_of_json(response):
    actions = response.json["storage_volume"]["actions"]
    return {action["rel"]: (action["method"], action["href"]) for action in actions}


ACTIONS = {"xml": actions_of_xml, "json": actions_of_json}


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
@pytest.mark.parametrize("format", ACTIONS)
def test_every_action_of_a_document_works(client, regional_ec2, format, region):
    ec2 = regional_ec2(region)
    volume = ec2.create_volume(AvailabilityZone=f"{region}a", Size=1)["VolumeId"]
    image = ec2.register_image(Name=f"crawl-{format}")["ImageId"]
    [instance] = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    address = f"/api;provider={region}/storage_volumes/{volume}"
    headers = {"Accept": ACCEPT[format]}
    executed = set()
    while actions := ACTIONS[format](client.get(address, headers=headers)).items() - executed:
        # What destroys the volume comes last.
        name, (method, href) = min(actions)
        parameters = {"instance_id": instance["InstanceId"]} if name == "attach" else ""
        status = 204 if name == "destroy" else 202
        client.request(href, method=method.upper(), POST=parameters, headers=headers, status=status)
        executed.add((name, (method, href)))
        if name == "destroy":
            break
    assert {name for name, _ in executed} == {"attach", "detach", "destroy"}
    client.get(address, status=404)


def test_every_feature_is_a_documented_parameter(anonymous_client):
    entry_point = etree.fromstring(anonymous_client.get("/api").body)
    features = entry_point.xpath("link/feature")
    assert len(features) == 5
    for feature in features:
        docs = anonymous_client.get(f"/api/docs/{feature.getparent().get('rel')}")
        path = f"//operation[@name='{feature.get('rel')}']/parameter/@name"
        assert feature.find("param").get("name") in etree.fromstring(docs.body).xpath(path)


def test_every_address_of_the_docs_resolves(anonymous_client):
    docs = etree.fromstring(anonymous_client.get("/api/docs").body)
    for url in docs.xpath("collection/@url"):
        anonymous_client.get(url, status=200)
