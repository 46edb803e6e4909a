"""A snapshot, a volume from it, attach, detach and delete, with the requests of the Ruby gems.

``Gem113`` sends what the methods of ``deltacloud-client`` 1.1.3 send: parameters in the query and
an empty body. ``Gem10`` sends what version 1.0 sends: a form, to the links of a document.
"""

from urllib.parse import urlencode

import pytest

XML = {"Accept": "application/xml"}


class Gem113:
    def __init__(self, http):
        self.http = http
        self.collections = http.get("/api", headers=XML).lxml.xpath("link/@rel")

    def send(self, method, path, parameters=None):
        query = f"?{urlencode(parameters)}" if parameters else ""
        return self.http.request(f"/api/{path}{query}", method=method, headers=XML, body=b"")

    def create(self, resource, **parameters):
        assert f"{resource}s" in self.collections
        return self.send("POST", f"{resource}s", parameters).lxml

    def storage_volume(self, id):
        return self.send("GET", f"storage_volumes/{id}").lxml

    def attach(self, volume, instance_id, device=""):
        parameters = {"instance_id": instance_id, "device": device}
        response = self.send("POST", f"storage_volumes/{volume.get('id')}/attach", parameters)
        assert response.status_int == 202
        return self.storage_volume(response.lxml.get("id"))

    def detach(self, volume):
        response = self.send("POST", f"storage_volumes/{volume.get('id')}/detach")
        assert response.status_int == 202
        return self.storage_volume(response.lxml.get("id"))

    def destroy(self, volume):
        assert self.send("DELETE", f"storage_volumes/{volume.get('id')}").status_int == 204


class Gem10:
    def __init__(self, http):
        self.http = http
        links = http.get("/api", headers=XML).lxml.findall("link")
        self.entry_points = {link.get("rel"): link.get("href") for link in links}

    def create(self, resource, **parameters):
        address = self.entry_points[f"{resource}s"]
        return self.http.post(address, parameters, headers=XML, status=201).lxml

    def act(self, volume, rel, **parameters):
        """Follow the link of an action."""
        [link] = volume.xpath(f"actions/link[@rel='{rel}']")
        self.http.request(
            link.get("href"), method=link.get("method").upper(), POST=parameters, headers=XML
        )

    def refreshed(self, volume):
        """The gem takes the state and the links from a new document."""
        return self.http.get(volume.get("href"), headers=XML).lxml

    def attach(self, volume, instance_id, device=""):
        self.act(volume, "attach", instance_id=instance_id, device=device)
        return self.refreshed(volume)

    def detach(self, volume):
        self.act(volume, "detach")
        return self.refreshed(volume)

    def destroy(self, volume):
        self.act(volume, "destroy")


@pytest.fixture(scope="module")
def instance_id(ec2):
    image = ec2.register_image(Name="gems")["ImageId"]
    [instance] = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    return instance["InstanceId"]


@pytest.mark.parametrize("gem", [Gem113, Gem10])
@pytest.mark.parametrize("device", ["", "/dev/sdh"])
def test_round_trip(client, ec2, volume_id, instance_id, gem, device):
    gem = gem(client)
    snapshot = gem.create("storage_snapshot", volume_id=volume_id, name="nightly")
    volume = gem.create(
        "storage_volume", snapshot_id=snapshot.get("id"), capacity="10", realm_id="us-east-1a"
    )
    [made] = ec2.describe_volumes(VolumeIds=[volume.get("id")])["Volumes"]
    assert (made["SnapshotId"], made["Size"]) == (snapshot.get("id"), 10)

    volume = gem.attach(volume, instance_id, device)
    assert volume.findtext("state") == "IN-USE"
    assert volume.find("mount/instance").get("id") == instance_id
    assert volume.find("mount/device").get("name") == device or not device

    volume = gem.detach(volume)
    assert volume.findtext("state") == "AVAILABLE"
    assert volume.find("mount") is None

    gem.destroy(volume)
    client.get(volume.get("href"), status=404)
