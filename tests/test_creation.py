"""A create happens once, whatever EC2, the network or the client do."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from dcproxy.operations.creation import CREATE_TAG, LOOK_PAUSES
from dcproxy.settings import Settings
from tests.conftest import client_of
from tests.ec2_model import LOST, Model
from tests.programmed_ec2 import Answer, refusal

SNAPSHOTS = "/api/storage_snapshots"
VOLUME = {"volume_id": "vol-12345678"}

FAILED = refusal("InternalError", 500)
THROTTLED = refusal("RequestLimitExceeded", 503)
DENIED = refusal("UnauthorizedOperation", 403)
UNREADABLE = Answer(b"<html>Welcome!</html>")
MADE, NOT_MADE = True, False


@pytest.fixture
def world(programmed_ec2):
    """An EC2 with a memory, a client in front of it, and the pauses it took."""

    class World:
        def __init__(self):
            self.pauses = []
            self.client = self.client_with()

        def client_with(self, **options):
            settings = Settings(ec2_endpoint_url=programmed_ec2.url, read_timeout=1, **options)
            return client_of(settings, pause=self.pauses.append)

        def model(self, *faults, **options):
            programmed_ec2.respond = self.ec2 = Model(faults, **options)
            return self.ec2

        def create(self, status=201, headers=None, client=None, **parameters):
            given = VOLUME | parameters
            client = client or self.client
            return client.post(SNAPSHOTS, given, headers=headers or {}, status=status)

    return World()


def id_of(response):
    return response.lxml.get("id")


def test_create_carries_its_tag_and_is_sent_once(world):
    ec2 = world.model()
    id = id_of(world.create(name="weekly"))
    assert ec2.actions == ["CreateSnapshot"]
    assert re.fullmatch(r"[0-9a-f]{32}", ec2.snapshots[id]["tags"][CREATE_TAG])
    assert ec2.snapshots[id]["tags"]["Name"] == "weekly"


def test_each_create_has_a_tag_of_its_own(world):
    ec2 = world.model()
    for _ in range(3):
        world.create()
    assert len({snapshot["tags"][CREATE_TAG] for snapshot in ec2.snapshots.values()}) == 3


def test_throttled_create_is_sent_again_without_a_look(world):
    ec2 = world.model((THROTTLED, NOT_MADE), (THROTTLED, NOT_MADE))
    world.create()
    assert ec2.actions == ["CreateSnapshot"] * 3
    assert len(world.pauses) == 2


def test_create_that_stays_throttled_is_502(world):
    ec2 = world.model(*[(THROTTLED, NOT_MADE)] * 9)
    response = world.create(status=502)
    assert ec2.actions == ["CreateSnapshot"] * 3
    assert "not known" not in response.text
    assert response.headers["Retry-After"]


@pytest.mark.parametrize("code", ["InvalidVolume.NotFound", "SnapshotLimitExceeded", "Unheard"])
def test_refused_create_is_the_callers_error_at_once(world, code):
    ec2 = world.model((refusal(code), NOT_MADE))
    world.create(status="4*")
    assert ec2.actions == ["CreateSnapshot"]


@pytest.mark.parametrize("fault", [LOST, FAILED, UNREADABLE])
def test_lost_answer_is_found_by_its_tag(world, fault):
    ec2 = world.model((fault, MADE))
    assert id_of(world.create()) in ec2.snapshots
    assert ec2.actions == ["CreateSnapshot", "DescribeSnapshots"]
    assert len(ec2.snapshots) == 1


def test_lost_answer_is_found_although_reads_lag(world):
    ec2 = world.model((LOST, MADE), lag=2)
    world.create()
    assert ec2.actions == ["CreateSnapshot"] + ["DescribeSnapshots"] * 3
    assert world.pauses == list(LOOK_PAUSES)
    assert len(ec2.snapshots) == 1


@pytest.mark.parametrize("fault", [LOST, FAILED, UNREADABLE])
def test_create_that_made_nothing_is_sent_again(world, fault):
    ec2 = world.model((fault, NOT_MADE))
    world.create()
    assert ec2.actions.count("CreateSnapshot") == 2
    assert len(ec2.snapshots) == 1


def test_of_two_that_were_made_the_oldest_stays(world):
    # The first one shows only after all looks for it.
    ec2 = world.model((LOST, MADE), lag=len(LOOK_PAUSES))
    id = id_of(world.create())
    assert ec2.actions.count("CreateSnapshot") == 2
    assert list(ec2.snapshots) == [id] == ["snap-00000001"]


def test_one_that_cannot_be_deleted_is_logged(world, caplog):
    ec2 = world.model((LOST, MADE), lag=len(LOOK_PAUSES))
    ec2.delete_faults = [(DENIED, False)]
    assert id_of(world.create()) == "snap-00000001"
    assert "snap-00000002 is one too many" in caplog.text


def test_create_that_stays_unknown_is_502_naming_the_tag(world):
    ec2 = world.model(*[(LOST, NOT_MADE)] * 9)
    message = world.create(status=502).lxml.findtext("message")
    assert re.search(rf"It is not known .* tag {CREATE_TAG}=[0-9a-f]{{32}}\.", message)
    assert ec2.actions.count("CreateSnapshot") == 3


def test_refusal_after_a_lost_answer_is_unknown_too(world):
    world.model((LOST, NOT_MADE), (DENIED, NOT_MADE))
    assert "not known" in world.create(status=502).lxml.findtext("message")


def test_caller_who_may_not_tag_gets_a_snapshot(world):
    ec2 = world.model((DENIED, NOT_MADE))
    id = id_of(world.create(description="d"))
    assert ec2.snapshots[id]["tags"] == {}
    assert ec2.actions == ["CreateSnapshot"] * 2


def test_untagged_create_is_never_sent_again(world):
    ec2 = world.model((DENIED, NOT_MADE), (LOST, MADE))
    message = world.create(status=502).lxml.findtext("message")
    assert "not known" in message
    assert ec2.actions == ["CreateSnapshot"] * 2


def test_caller_who_may_do_neither_is_told(world):
    world.model((DENIED, NOT_MADE), (DENIED, NOT_MADE))
    world.create(status=403)


def test_caller_who_may_not_tag_is_told_that_a_name_needs_it(world):
    ec2 = world.model((DENIED, NOT_MADE))
    message = world.create(status=403, name="weekly").lxml.findtext("message")
    assert "ec2:CreateTags" in message
    assert ec2.snapshots == {}


def test_without_the_tag_a_create_is_sent_once(world):
    ec2 = world.model((LOST, MADE))
    client = world.client_with(create_tag=False)
    message = world.create(status=502, client=client).lxml.findtext("message")
    assert "not known" in message
    assert ec2.actions == ["CreateSnapshot"]


def test_without_the_tag_there_is_no_idempotency_key(world):
    client = world.client_with(create_tag=False)
    world.create(status=400, client=client, headers={"Idempotency-Key": '"a"'})


@pytest.mark.parametrize("format", ["xml", "json"])
def test_repeat_of_a_key_finds_the_first_ones_snapshot(world, format):
    ec2 = world.model()
    key = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
    first = world.create(headers=key, name="weekly")
    # Another replica, or this one after a restart.
    again = world.create(headers=key, name="weekly", client=world.client_with())
    assert first.body == again.body
    assert again.headers["Location"] == first.headers["Location"]
    assert ec2.actions.count("CreateSnapshot") == 1


@pytest.mark.parametrize(
    "other",
    [{"volume_id": "vol-87654321"}, {"name": "other"}, {"description": "other"}],
)
def test_key_with_other_parameters_is_422(world, other):
    ec2 = world.model()
    key = {"Idempotency-Key": '"k"'}
    world.create(headers=key, name="weekly")
    world.create(headers=key, status=422, **({"name": "weekly"} | other))
    assert len(ec2.snapshots) == 1


def test_key_belongs_to_its_caller_and_region(world):
    ec2 = world.model()
    key = {"Idempotency-Key": '"k"'}
    world.create(headers=key)
    other = world.client_with()
    other.authorization = ("Basic", ("SOMEBODYELSE", "secret"))
    world.create(headers=key, client=other)
    world.client.post("/api;provider=eu-west-1/storage_snapshots", VOLUME, headers=key, status=201)
    assert len(ec2.snapshots) == 3


def test_quotes_of_a_key_do_not_matter(world):
    ec2 = world.model()
    world.create(headers={"Idempotency-Key": '"k-1"'})
    world.create(headers={"Idempotency-Key": "k-1"})
    assert len(ec2.snapshots) == 1


@pytest.mark.parametrize(
    "key", ["", '""', '"a', 'a"', '"a", "b"', "a b", '"ä"', "x" * 256, '"\\n"']
)
def test_malformed_key_is_400(world, key):
    ec2 = world.model()
    response = world.create(status=400, headers={"Idempotency-Key": key})
    assert "Idempotency-Key" in response.lxml.findtext("message")
    assert ec2.actions == []


def test_same_key_at_the_same_moment_makes_one_snapshot(world):
    ec2 = world.model()
    key = {"Idempotency-Key": '"k"'}
    clients = [world.client_with() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda client: world.create(headers=key, client=client), clients))
    [id] = ec2.snapshots
    assert {id_of(answer) for answer in answers} == {id}


def test_lost_answer_with_a_key_is_found(world):
    ec2 = world.model((LOST, MADE))
    key = {"Idempotency-Key": '"k"'}
    assert id_of(world.create(headers=key)) == id_of(world.create(headers=key))
    assert len(ec2.snapshots) == 1


def test_create_is_not_sent_again_when_nobody_may_look(world):
    ec2 = world.model((LOST, MADE), (LOST, MADE))
    ec2.look_faults = [DENIED] * 99
    message = world.create(status=502).lxml.findtext("message")
    assert "not known" in message
    assert ec2.actions.count("CreateSnapshot") == 1


def test_of_two_lost_ones_the_oldest_stays(world):
    ec2 = world.model((LOST, MADE), (LOST, MADE), lags=[3, 0])
    assert id_of(world.create()) == "snap-00000001"
    assert list(ec2.snapshots) == ["snap-00000001"]


def test_lost_one_that_shows_late_is_waited_for(world):
    ec2 = world.model((LOST, MADE), lags=[4, 0])
    assert id_of(world.create()) == "snap-00000001"
    assert list(ec2.snapshots) == ["snap-00000001"]


def test_look_reads_every_page(world):
    ec2 = world.model((LOST, MADE))
    ec2.has_empty_first_page = True
    assert id_of(world.create()) == "snap-00000001"
    assert ec2.actions.count("CreateSnapshot") == 1
    key = {"Idempotency-Key": '"k"'}
    assert id_of(world.create(headers=key)) == id_of(world.create(headers=key))


def test_lost_one_beside_anothers_with_the_same_key_is_deleted(world):
    key = {"Idempotency-Key": '"k"'}
    ec2 = world.model((None, MADE), (LOST, MADE))
    first = id_of(world.create(headers=key))
    # The second one has looked before the first one was there to see.
    ec2.blind_looks = 1
    assert id_of(world.create(headers=key)) == first
    assert ec2.actions.count("CreateSnapshot") == 2
    assert list(ec2.snapshots) == [first]


def test_server_error_named_unauthorized_is_no_refusal(world):
    ec2 = world.model((refusal("UnauthorizedOperation", 500), MADE))
    id = id_of(world.create())
    assert list(ec2.snapshots) == [id]


def test_refusal_after_a_lost_answer_looks_once_more(world):
    ec2 = world.model((LOST, MADE), (refusal("SnapshotLimitExceeded"), NOT_MADE), lags=[3])
    assert id_of(world.create()) == "snap-00000001"
    assert len(ec2.snapshots) == 1


def test_unknown_does_not_ask_to_come_back(world):
    world.model(*[(LOST, NOT_MADE)] * 9)
    assert "Retry-After" not in world.create(status=502).headers
    world.model(*[(LOST, NOT_MADE)] * 9)
    keyed = world.create(status=502, headers={"Idempotency-Key": '"k"'})
    assert keyed.headers["Retry-After"]


@pytest.mark.parametrize(
    "body",
    [
        b"<Response><Errors>text</Errors></Response>",
        b"<Errors/>",
        b"<Response><Error>text</Error></Response>",
        b"<Errors><Error>t</Error></Errors>",
        b"<Response><Errors><Error><Code>a</Code><Code>b</Code></Error></Errors></Response>",
        b"<Response><Errors><Error><Code><x/></Code></Error></Errors></Response>",
        b"<Response><ResponseMetadata>x</ResponseMetadata></Response>",
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_refusal_that_cannot_be_read_loses_no_snapshot(world, body, status):
    ec2 = world.model((Answer(body, status), MADE))
    assert id_of(world.create()) in ec2.snapshots
    assert len(ec2.snapshots) == 1


def test_key_of_a_caller_who_may_not_tag_is_told(world):
    world.model((DENIED, NOT_MADE))
    response = world.create(status=403, headers={"Idempotency-Key": '"k"'})
    assert "ec2:CreateTags" in response.lxml.findtext("message")


def test_delete_whose_answer_was_lost_is_204(world):
    ec2 = world.model()
    id = id_of(world.create())
    ec2.delete_faults = [(FAILED, True)]
    world.client.delete(f"{SNAPSHOTS}/{id}", status=204)
    assert ec2.actions[-2:] == ["DeleteSnapshot"] * 2


def test_delete_that_was_throttled_and_finds_nothing_is_404(world):
    ec2 = world.model()
    ec2.delete_faults = [(THROTTLED, False)]
    world.client.delete(f"{SNAPSHOTS}/snap-99999999", status=404)


def test_delete_of_what_is_not_there_is_404(world):
    world.model()
    world.client.delete(f"{SNAPSHOTS}/snap-99999999", status=404)
