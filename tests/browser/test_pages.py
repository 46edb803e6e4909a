"""The pages in Chromium, without scripts."""

import os
from threading import Event

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, expect

from tests.support.chromium import CHROMIUM, HTTP_CREDENTIALS
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.responders import in_turn

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="needs Debian's package chromium"
)


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


def test_user_creates_finds_and_deletes_a_snapshot(page, site, volume_id):
    page.goto(site)
    page.get_by_role("navigation").get_by_role("link", name="Storage snapshots").click()
    page.get_by_role("link", name="Create a snapshot").click()
    make_snapshot(page, site, volume_id, "browser & co.")
    page.get_by_role("navigation").get_by_role("link", name="Storage snapshots").click()
    row = page.get_by_role("row").filter(has_text="browser & co.")
    row.get_by_role("link").first.click()
    expect(page.get_by_text("made in a browser")).to_be_visible()
    expect(page.get_by_role("button", name="Delete the snapshot")).to_be_hidden()
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete the snapshot").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Storage snapshots")
    expect(page.get_by_text("browser & co.")).to_have_count(0)


def test_page_of_a_pending_snapshot_shows_its_progress_until_it_is_complete(
    page, programmed_site, programmed_ec2
):
    pending = snapshot_item("snap-12345678", status="pending")
    programmed_ec2.respond = in_turn(
        snapshots_page(pending.replace("100%", "40%")),
        snapshots_page(snapshot_item("snap-12345678")),
    )
    page.goto(f"{programmed_site}/storage_snapshots/snap-12345678")
    state = page.get_by_role("definition").filter(has=page.get_by_role("mark"))
    expect(state).to_have_text("pending 40%")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "40")
    expect(state).to_have_text("completed", timeout=30_000)
    expect(page.get_by_role("progressbar")).to_have_count(0)
    expect(page.get_by_text("reloads")).to_have_count(0)


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


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark"), (1920, "light")])
def test_every_page_fits_the_viewport_and_is_accessible(
    browser, site, ec2, volume_id, width, scheme, tmp_path
):
    snapshot = ec2.create_snapshot(VolumeId=volume_id, Description="a description " * 12)
    snapshot_id = snapshot["SnapshotId"]
    context = browser.new_context(
        http_credentials=HTTP_CREDENTIALS,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        bypass_csp=True,
    )
    page = context.new_page()
    for name, address in {
        "entry-point": "",
        "snapshots": "/storage_snapshots",
        "snapshot": f"/storage_snapshots/{snapshot_id}",
        "new": f"/storage_snapshots/new?volume_id={volume_id}",
        "volumes": "/storage_volumes",
        "volume": f"/storage_volumes/{volume_id}",
        "realms": "/realms",
        "realm": "/realms/us-east-1a",
        "drivers": "/drivers",
        "driver": "/drivers/ec2",
        "error": "/storage_snapshots/snap-00000000",
    }.items():
        page.goto(site + address)
        check_layout_and_accessibility(page, f"{name}-{width}-{scheme}")
    page.goto(f"{site}/storage_snapshots/{snapshot_id}")
    page.get_by_text("Delete…").click()
    check_layout_and_accessibility(page, f"delete-{width}-{scheme}")
    page.goto(f"{site}/storage_snapshots/new?volume_id=vol-00000000")
    page.get_by_role("button", name="Create the snapshot").click()
    check_layout_and_accessibility(page, f"form-error-{width}-{scheme}")
    context.close()


def check_layout_and_accessibility(page, screenshot):
    if "SCREENSHOTS" in os.environ:
        page.screenshot(path=f"{os.environ['SCREENSHOTS']}/{screenshot}.png")
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, f"{page.url} is {overflow} px too wide"
    results = Axe().run(page)
    assert results.violations_count == 0, f"{page.url}\n{results.generate_report()}"
