"""Attaching and detaching, whatever EC2 or the network do."""

import pytest

from tests.support.creation import DENIED, FAILED, THROTTLED, message_of
from tests.support.documents import read_xml
from tests.support.ec2_model import INSTANCE, EC2Model, lost, not_executed
from tests.support.ec2_responses import error_response

VOLUMES = "/api/storage_volumes"
GIVEN = {"instance_id": INSTANCE, "device": "/dev/sdf"}
ATTACHED = (INSTANCE, "/dev/sdf", "attached")


@pytest.fixture
def model(programmed_ec2):
    programmed_ec2.respond = EC2Model()
    return programmed_ec2.respond


@pytest.fixture(params=["attach", "detach"])
def change(request, model, programmed_client):
    """Give an action and a function that sends it for a volume; attached tells its effect."""
    return Change(request.param, model, programmed_client)


class Change:
    def __init__(self, name, model, client):
        self.action = {"attach": "AttachVolume", "detach": "DetachVolume"}[name]
        self.model, self.client = model, client
        self.id = model.add_volume(attachment=None if name == "attach" else ATTACHED)
        self.address = f"{VOLUMES}/{self.id}/{name}"
        self.wants_attachment = name == "attach"

    def send(self, status=202):
        return self.client.post(self.address, GIVEN, status=status)

    def is_done(self):
        return bool(self.model.volumes[self.id].attachment) == self.wants_attachment

    @property
    def sent(self):
        return self.model.actions.count(self.action)


def test_change_is_one_read_and_one_call(change):
    change.send()
    assert change.model.actions == ["DescribeVolumes", change.action]
    assert change.is_done()


@pytest.mark.parametrize("fault", [lost(), lost(FAILED)])
def test_lost_attach_is_settled_by_a_look_at_the_volume(programmed_client, model, fault):
    model.faults["AttachVolume"] = [fault]
    programmed_client.post(f"{VOLUMES}/{model.add_volume()}/attach", GIVEN, status=202)
    assert model.actions == ["DescribeVolumes", "AttachVolume", "DescribeVolumes"]


@pytest.mark.parametrize("fault", [lost(), lost(FAILED)])
def test_lost_detach_that_has_ended_is_settled_by_a_refusal(programmed_client, model, fault):
    """A volume without attachment may also be one that a lagging read shows."""
    id = model.add_volume(attachment=ATTACHED)
    model.faults["DetachVolume"] = [fault]
    volume = programmed_client.post(f"{VOLUMES}/{id}/detach", status=202)
    assert read_xml(volume).xpath("mount/instance/@id") == [INSTANCE]
    assert model.actions.count("DetachVolume") == 2
    assert not model.volumes[id].attachment


@pytest.mark.parametrize("status", ["busy", "detaching"])
def test_lost_detach_of_a_volume_that_the_instance_still_uses_is_settled(
    programmed_client, model, status
):
    id = model.add_volume(attachment=ATTACHED)
    model.faults["DetachVolume"] = [not_executed()]
    detaching = (INSTANCE, "/dev/sdf", status)
    describe = model.DescribeVolumes

    def begin_to_detach(parameters):
        if "DetachVolume" in model.actions:
            model.volumes[id].attachment = detaching
        return describe(parameters)

    model.DescribeVolumes = begin_to_detach
    programmed_client.post(f"{VOLUMES}/{id}/detach", status=202)
    assert model.actions == ["DescribeVolumes", "DetachVolume", "DescribeVolumes"]


def test_lost_attach_is_settled_despite_stale_reads(programmed_client, model, sleeps):
    model.faults["AttachVolume"] = [lost()]
    id = model.add_volume(hidden=3)
    programmed_client.post(f"{VOLUMES}/{id}/attach", GIVEN, status=202)
    assert model.actions.count("AttachVolume") == 1
    assert sleeps == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("fresh_reads", [0, 1])
def test_lost_detach_is_sent_again_while_reads_show_the_volume_from_before(
    programmed_client, model, fresh_reads
):
    """They show no attachment: that it ended is not proven."""
    id = model.add_volume(attachment=ATTACHED)
    model.volumes[id].before = None
    model.faults["DetachVolume"] = [not_executed()]
    describe = model.DescribeVolumes

    def read(parameters):
        model.volumes[id].hidden = model.actions.count("DescribeVolumes") > fresh_reads
        return describe(parameters)

    model.DescribeVolumes = read
    volume = programmed_client.post(f"{VOLUMES}/{id}/detach", status=202)
    assert read_xml(volume).findtext("state") == "IN-USE"
    assert model.actions.count("DetachVolume") == 2
    assert not model.volumes[id].attachment


@pytest.mark.parametrize("instance", [INSTANCE, "i-87654321"])
@pytest.mark.parametrize("held", ["/dev/sdf", "/dev/sdh"])
def test_lost_refusal_of_an_attach_is_not_an_attachment(programmed_client, model, held, instance):
    """What held before is no effect, at whatever device and instance."""
    id = model.add_volume(attachment=(instance, held, "attached"))
    model.faults["AttachVolume"] = [lost()]
    given = {"instance_id": INSTANCE, "device": "/dev/sdh"}
    message = message_of(programmed_client.post(f"{VOLUMES}/{id}/attach", given, status=502))
    assert message.startswith("VolumeInUse: EC2 says no. It is not known")
    assert model.volumes[id].attachment == (instance, held, "attached")


@pytest.mark.parametrize("shown", ["detaching", "busy", "detached"])
@pytest.mark.parametrize("stale", ["attached", "attaching"])
def test_earlier_attachment_of_a_lagging_read_is_not_an_attachment(
    programmed_client, model, shown, stale
):
    """The looks show the attachment as it was before the volume was detached."""
    id = model.add_volume(attachment=(INSTANCE, "/dev/sdf", shown))
    model.volumes[id].before = (INSTANCE, "/dev/sdf", stale)
    model.faults["AttachVolume"] = [not_executed()] * 9
    describe = model.DescribeVolumes

    def read(parameters):
        model.volumes[id].hidden = model.actions.count("DescribeVolumes") > 1
        return describe(parameters)

    model.DescribeVolumes = read
    message = message_of(programmed_client.post(f"{VOLUMES}/{id}/attach", GIVEN, status=502))
    assert "It is not known whether EC2 has carried out AttachVolume" in message


@pytest.mark.parametrize("earlier", [("i-87654321", "/dev/sdf"), (INSTANCE, "/dev/sdh")])
def test_lost_attach_beside_an_earlier_attachment_is_settled(programmed_client, model, earlier):
    """At another instance or device, it is not what was asked for."""
    id = model.add_volume(attachment=(*earlier, "detached"))
    model.faults["AttachVolume"] = [not_executed()]
    describe = model.DescribeVolumes

    def read(parameters):
        if "AttachVolume" in model.actions:
            model.volumes[id].attachment = ATTACHED
        return describe(parameters)

    model.DescribeVolumes = read
    programmed_client.post(f"{VOLUMES}/{id}/attach", GIVEN, status=202)
    assert model.actions.count("AttachVolume") == 1


@pytest.mark.parametrize("given", [{}, {"instance_id": INSTANCE}])
def test_lost_refusal_of_a_detach_is_not_a_detachment(programmed_client, model, given):
    id = model.add_volume()
    model.faults["DetachVolume"] = [lost()]
    message = message_of(programmed_client.post(f"{VOLUMES}/{id}/detach", given, status=502))
    assert message.startswith("IncorrectState: EC2 says no. It is not known")


@pytest.mark.parametrize("status", ["detaching", "busy"])
def test_detaching_that_began_before_a_lost_detach_is_no_effect(programmed_client, model, status):
    id = model.add_volume(attachment=(INSTANCE, "/dev/sdf", status))
    model.faults["DetachVolume"] = [not_executed()] * 9
    message = message_of(programmed_client.post(f"{VOLUMES}/{id}/detach", status=502))
    assert "It is not known whether EC2 has carried out DetachVolume" in message


REFUSED_DEVICES = [
    error_response("InvalidDevice.InUse"),
    error_response("InvalidParameterValue", message="Attachment point /dev/sdf is in use"),
]


@pytest.mark.parametrize("refusal", REFUSED_DEVICES)
def test_default_device_that_ec2_refuses_is_replaced(programmed_client, model, refusal):
    model.refused = {"/dev/sdf": refusal}
    given = {"instance_id": INSTANCE}
    volume = programmed_client.post(f"{VOLUMES}/{model.add_volume()}/attach", given, status=202)
    assert read_xml(volume).findtext("device") == "/dev/sdg"


@pytest.mark.parametrize("refusal", REFUSED_DEVICES)
def test_device_of_the_client_that_ec2_refuses_is_not_replaced(programmed_client, model, refusal):
    model.refused = {"/dev/sdf": refusal}
    programmed_client.post(f"{VOLUMES}/{model.add_volume()}/attach", GIVEN, status=502)
    assert model.actions.count("AttachVolume") == 1


def test_change_that_was_not_carried_out_is_sent_again_after_the_looks(change):
    change.model.faults[change.action] = [not_executed()]
    change.send()
    assert change.model.actions == [
        "DescribeVolumes",
        change.action,
        *["DescribeVolumes"] * 3,
        change.action,
    ]
    assert change.is_done()


def test_repeat_that_is_refused_because_of_stale_reads_is_settled(change):
    """The looks did not show the effect, so that it was sent again."""
    change.model.faults[change.action] = [lost()]
    volume = change.model.volumes[change.id]
    volume.before, volume.hidden = volume.attachment, 1 + 3
    change.send()
    assert change.sent == 2
    assert change.is_done()


def test_change_is_not_repeated_when_ec2_does_not_show_the_volume(change):
    change.model.faults[change.action] = [lost()]
    change.model.faults["DescribeVolumes"] = [(None, True), *[not_executed(DENIED)] * 9]
    response = change.send(status=502)
    assert change.sent == 1
    assert f"not known whether EC2 has carried out {change.action}" in message_of(response)


def test_change_that_stays_without_effect_is_an_unknown_outcome(change):
    change.model.faults[change.action] = [not_executed()] * 9
    assert "It is not known" in message_of(change.send(status=502))
    assert change.sent == 3


def test_throttled_change_is_repeated_without_a_look(change):
    change.model.faults[change.action] = [not_executed(THROTTLED)] * 2
    change.send()
    assert change.model.actions == ["DescribeVolumes"] + [change.action] * 3


def test_refused_change_is_told_at_once(change):
    change.model.faults[change.action] = [not_executed(DENIED)]
    response = change.send(status=502)
    assert message_of(response).startswith("UnauthorizedOperation: EC2 says no.")
    assert change.model.actions == ["DescribeVolumes", change.action]
    assert not change.is_done()


def test_caller_who_may_not_read_volumes_changes_nothing(change):
    change.model.faults["DescribeVolumes"] = [not_executed(DENIED)]
    change.send(status=502)
    assert change.sent == 0


def test_attached_volume_is_not_attached_again(programmed_client, model):
    id = model.add_volume(attachment=ATTACHED)
    response = programmed_client.post(f"{VOLUMES}/{id}/attach", GIVEN, status=502)
    assert message_of(response).startswith("VolumeInUse: ")


def test_volume_that_is_not_attached_is_not_detached(programmed_client, model):
    response = programmed_client.post(f"{VOLUMES}/{model.add_volume()}/detach", status=502)
    assert message_of(response).startswith("IncorrectState: ")


@pytest.mark.parametrize("taken", ["/dev/sdf", "/dev/xvdf", "xvdf", "sdf", "/dev/sdf1"])
def test_default_device_is_not_one_that_the_instance_uses(programmed_client, model, taken):
    model.add_volume(attachment=(INSTANCE, taken, "attached"))
    model.add_volume(attachment=("i-87654321", "/dev/sdg", "attached"))
    given = {"instance_id": INSTANCE}
    volume = programmed_client.post(f"{VOLUMES}/{model.add_volume()}/attach", given, status=202)
    assert read_xml(volume).findtext("device") == "/dev/sdg"


def test_attach_without_a_free_device_is_400_that_asks_for_one(programmed_client, model):
    for letter in "fghijklmnop":
        model.add_volume(attachment=(INSTANCE, f"/dev/sd{letter}", "attached"))
    given = {"instance_id": INSTANCE}
    response = programmed_client.post(f"{VOLUMES}/{model.add_volume()}/attach", given, status=400)
    assert message_of(response).startswith("device is missing")
    assert "AttachVolume" not in model.actions


@pytest.mark.parametrize(("times", "status"), [(1, 202), (9, 502)])
def test_other_volume_that_vanishes_is_not_a_404(programmed_client, model, times, status):
    """The search for a free device names no volume."""
    vanished = not_executed(error_response("InvalidVolume.NotFound"))
    model.faults["DescribeVolumes"] = [(None, True), *[vanished] * times]
    given = {"instance_id": INSTANCE}
    programmed_client.post(f"{VOLUMES}/{model.add_volume()}/attach", given, status=status)
    assert model.actions.count("AttachVolume") == (status == 202)
