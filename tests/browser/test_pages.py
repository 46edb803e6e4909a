"""The pages in Chromium, without scripts."""

import os
from threading import Event

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, expect

from tests.support.chromium import CHROMIUM, HTTP_CREDENTIALS
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.responders import always, in_turn

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="needs Debian's package chromium"
)


@pytest.fixture(scope="module")
def instance_id(ec2):
    image = ec2.register_image(Name="browser")["ImageId"]
    [instance] = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    return instance["InstanceId"]


def make_snapshot(page, site, volume_id, name):
    page.goto(f"{site}/storage_snapshots/new")
    page.get_by_label("Volume").fill(volume_id)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Description").fill("made in a browser")
    page.get_by_role("button", name="Create the snapshot").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Storage snapshot snap-")


def test_browser_is_challenged_for_credentials(browser, site):
    # Without credentials to send, Chromium fails on the challenge.
    context = browser.new_context()
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        context.new_page().goto(f"{site}/storage_snapshots")
    context.close()


def test_user_takes_a_snapshot_restores_attaches_detaches_and_deletes(
    page, site, ec2, volume_id, instance_id
):
    heading = page.get_by_role("heading", level=1)
    menu = page.get_by_role("navigation")
    page.goto(site)
    menu.get_by_role("link", name="Storage snapshots").click()
    page.get_by_role("link", name="Create a snapshot").click()
    offered = page.locator("datalist option")
    expect(offered.and_(page.locator(f"[value={volume_id}]"))).to_have_count(1)
    make_snapshot(page, site, volume_id, "browser & co.")
    menu.get_by_role("link", name="Storage snapshots").click()
    row = page.get_by_role("row").filter(has_text="browser & co.")
    row.get_by_role("link").first.click()
    expect(page.get_by_text("made in a browser")).to_be_visible()
    snapshot_page = page.url

    page.get_by_role("link", name="Restore to a volume").click()
    expect(page.get_by_label("Size")).to_have_value("8")
    page.get_by_label("Realm").select_option("us-east-1b")
    page.get_by_label("Name").fill("restored")
    page.get_by_role("button", name="Create the volume").click()
    expect(heading).to_contain_text("Storage volume vol-")
    [restored] = ec2.describe_volumes(Filters=[{"Name": "tag:Name", "Values": ["restored"]}])[
        "Volumes"
    ]
    page.goto(f"{site}/storage_volumes/{restored['VolumeId']}")

    expect(page.get_by_role("button", name="Attach the volume")).to_be_hidden()
    page.get_by_text("Attach to an instance…").click()
    page.get_by_label("Instance").fill(instance_id)
    page.get_by_role("button", name="Attach the volume").click()
    expect(page.get_by_role("mark")).to_have_text("IN-USE")
    expect(page.get_by_text(f"{instance_id} as /dev/sdf")).to_be_visible()
    expect(page.get_by_text("Delete…")).to_have_count(0)
    page.get_by_text("Detach…").click()
    page.get_by_role("button", name="Detach the volume").click()
    expect(page.get_by_role("mark")).to_have_text("AVAILABLE")
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete the volume").click()
    expect(heading).to_have_text("Storage volumes")
    expect(page.get_by_text("restored")).to_have_count(0)

    page.goto(snapshot_page)
    expect(page.get_by_role("button", name="Delete the snapshot")).to_be_hidden()
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete the snapshot").click()
    expect(heading).to_have_text("Storage snapshots")
    expect(page.get_by_text("browser & co.")).to_have_count(0)


def test_page_of_a_pending_snapshot_shows_its_progress_until_it_is_complete(
    page, programmed_site, programmed_ec2
):
    pending = snapshots_page(
        snapshot_item("snap-12345678", status="pending").replace("100%", "40%")
    )
    completed = snapshots_page(snapshot_item("snap-12345678"))
    programmed_ec2.respond = in_turn(pending, completed)
    page.goto(f"{programmed_site}/storage_snapshots/snap-12345678")
    state = page.get_by_role("definition").filter(has=page.get_by_role("mark"))
    expect(state).to_have_text("pending 40%")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "40")
    expect(state).to_have_text("completed", timeout=30_000)
    expect(page.get_by_role("progressbar")).to_have_count(0)
    expect(page.get_by_text("reloads")).to_have_count(0)


def test_pending_snapshots_are_accessible(examined_page, programmed_site, programmed_ec2):
    item = snapshot_item("snap-12345678", status="pending").replace("100%", "40%")
    programmed_ec2.respond = always(snapshots_page(item))
    for name, address in {"pending-list": "", "pending": "/snap-12345678?reload=off"}.items():
        examined_page.goto(f"{programmed_site}/storage_snapshots{address}")
        check_layout_and_accessibility(examined_page, name)


def test_long_list_shows_how_much_has_come_until_it_is_complete(
    page, programmed_site, programmed_ec2
):
    is_seen = Event()

    def respond(request):
        if "NextToken" not in request.parameters:
            return snapshots_page(snapshot_item("snap-11111111"), "more")
        is_seen.wait(60)
        return snapshots_page(snapshot_item("snap-22222222"))

    programmed_ec2.respond = respond
    page.goto(f"{programmed_site}/storage_snapshots", wait_until="commit")
    expect(page.get_by_text("1 storage snapshots so far")).to_be_visible(timeout=30_000)
    is_seen.set()
    expect(page.get_by_text("Number of storage snapshots: 2")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("so far").locator("visible=true")).to_have_count(0)


def test_user_searches_for_a_snapshot(page, site, ec2, volume_id):
    for text in ("zebra", "giraffe"):
        ec2.create_snapshot(VolumeId=volume_id, Description=f"disk of the {text}")
    page.goto(f"{site}/storage_snapshots")
    page.get_by_role("searchbox").fill("the zebra")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("disk of the zebra")).to_be_visible()
    expect(page.get_by_text("disk of the giraffe")).to_have_count(0)
    expect(page.get_by_role("searchbox")).to_have_value("the zebra")


def test_user_goes_to_the_same_page_in_another_region(page, site):
    menu = page.get_by_role("navigation")
    page.goto(f"{site}/storage_snapshots?owner_id=self&search=zebra")
    menu.get_by_role("link", name="Region: us-east-1").click()
    expect(page.get_by_label("Region", exact=True)).to_have_value("us-east-1")
    page.get_by_label("Region", exact=True).select_option("eu-west-1")
    page.get_by_role("button", name="Open the page in this region").click()
    expect(menu.get_by_role("link", name="Region: eu-west-1")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("zebra")
    menu.get_by_role("link", name="Storage volumes").click()
    expect(menu.get_by_role("link", name="Region: eu-west-1")).to_be_visible()


def test_failed_attach_keeps_the_input(page, site, volume_id):
    page.goto(f"{site}/storage_volumes/{volume_id}")
    page.get_by_text("Attach to an instance…").click()
    page.get_by_label("Instance").fill("i-12345678")
    page.get_by_label("Device").fill("/dev/sdz")
    page.get_by_role("button", name="Attach the volume").click()
    expect(page.get_by_role("alert")).to_contain_text("InvalidInstanceID.NotFound")
    expect(page.get_by_label("Instance")).to_have_value("i-12345678")
    expect(page.get_by_label("Device")).to_have_value("/dev/sdz")


def test_form_error_keeps_the_input(page, site):
    page.goto(f"{site}/storage_snapshots/new")
    page.get_by_label("Volume").fill("vol-00000000")
    page.get_by_label("Name").fill("kept")
    page.get_by_role("button", name="Create the snapshot").click()
    expect(page.get_by_role("alert")).to_contain_text("InvalidVolume.NotFound")
    expect(page.get_by_label("Volume")).to_have_value("vol-00000000")
    expect(page.get_by_label("Name")).to_have_value("kept")


def test_foreign_page_cannot_delete_a_snapshot(browser, site, snapshot_id, ec2, tmp_path):
    evil = tmp_path / "evil.html"
    evil.write_text(
        f'<form method=post action="{site}/storage_snapshots/{snapshot_id}">'
        "<input name=_method value=delete><button>Win!</button></form>"
    )
    context = browser.new_context(http_credentials=HTTP_CREDENTIALS)
    page = context.new_page()
    page.goto(evil.as_uri())
    page.get_by_role("button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("403 Forbidden")
    context.close()
    assert ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]


PAGES = {
    "entry-point": "",
    "snapshots": "/storage_snapshots",
    "snapshot": "/storage_snapshots/{snapshot}",
    "new": "/storage_snapshots/new?volume_id={volume}",
    "volumes": "/storage_volumes",
    "volume": "/storage_volumes/{volume}",
    "attached": "/storage_volumes/{attached}",
    "restore": "/storage_volumes/new?snapshot_id={snapshot}&capacity=8",
    "search": "/storage_snapshots?search=nothing",
    "docs": "/docs/storage_volumes",
    "realms": "/realms",
    "realm": "/realms/us-east-1a",
    "drivers": "/drivers",
    "driver": "/drivers/ec2?page=/storage_snapshots",
    "error": "/storage_snapshots/snap-00000000",
}


@pytest.fixture(scope="module")
def ids(ec2, instance_id):
    """Arrange what the pages show."""
    volume, attached = (
        ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"] for _ in range(2)
    )
    ec2.attach_volume(VolumeId=attached, InstanceId=instance_id, Device="/dev/sdp")
    snapshot = ec2.create_snapshot(VolumeId=volume, Description="a description " * 12)
    return {"volume": volume, "attached": attached, "snapshot": snapshot["SnapshotId"]}


@pytest.fixture(scope="module")
def examined_page(browser):
    """Give a page whose policy lets axe run."""
    context = browser.new_context(http_credentials=HTTP_CREDENTIALS, bypass_csp=True)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_each_viewport_and_is_accessible(examined_page, site, ids, name):
    examined_page.goto(site + PAGES[name].format(**ids))
    check_layout_and_accessibility(examined_page, name)


def test_open_confirmations_fit_each_viewport_and_are_accessible(examined_page, site, ids):
    for collection, id in (("storage_snapshots", "snapshot"), ("storage_volumes", "volume")):
        examined_page.goto(f"{site}/{collection}/{ids[id]}")
        for summary in examined_page.locator("summary").all():
            summary.click()
        check_layout_and_accessibility(examined_page, f"confirmations-of-{id}")


def test_errors_of_forms_fit_each_viewport_and_are_accessible(examined_page, site, ids):
    examined_page.goto(f"{site}/storage_snapshots/new?volume_id=vol-00000000")
    examined_page.get_by_role("button", name="Create the snapshot").click()
    check_layout_and_accessibility(examined_page, "form-error")
    examined_page.goto(f"{site}/storage_volumes/{ids['volume']}")
    examined_page.get_by_text("Attach to an instance…").click()
    examined_page.get_by_label("Instance").fill("i-12345678")
    examined_page.get_by_role("button", name="Attach the volume").click()
    check_layout_and_accessibility(examined_page, "attach-error")


def check_layout_and_accessibility(page, name):
    """Check that a page fits each width. Axe examines each scheme of colours at one width."""
    for width, scheme in ((360, "light"), (1280, "dark"), (1920, None)):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme or "light")
        if "SCREENSHOTS" in os.environ:
            page.screenshot(path=f"{os.environ['SCREENSHOTS']}/{name}-{width}.png")
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, f"{page.url} is {overflow} px too wide"
        if scheme:
            results = Axe().run(page)
            assert results.violations_count == 0, f"{page.url}\n{results.generate_report()}"
