"""The dashboard in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pyncette_dashboard import Tokens
from tests.helpers.dashboard import HOSTILE
from tests.helpers.dashboard_served import Served, chromium_browser, open_page, schedule, serious, served
from tests.servers import chromium

START = datetime(2027, 2, 1, 0, 58, tzinfo=UTC)
"""Two minutes before two o'clock in Berlin."""

TOKEN, READER = "operators-token-0123456789", "readers-token-0123456789"

expect.set_options(timeout=20_000)  # pages refresh within seconds, but later on a busy machine

pytestmark = pytest.mark.timeout(180)  # the first run on a machine downloads the browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium_browser() as found:
        yield found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, START) as found:
        found.call(partial(schedule, schedule="0 2 * * *", timezone="Europe/Berlin"), *_reports(found, "Ada", HOSTILE))
        yield found


def _reports(site: Served, *names: str) -> tuple[object, object, list[str]]:
    return site.site.context, site.site.report, list(names)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def follow(page: Page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).first.click()


def test_an_operator_handles_an_incident(browser: Browser, site: Served) -> None:
    """Reports start to fail at two. An operator notices, finds out why, pauses the task, retries after the fix, and
    sees the reports succeed."""
    names = [f"shop {number}" for number in range(12)]
    site.call(partial(schedule, execute_at=START + timedelta(minutes=2)), *_reports(site, *names))
    page, wrong = open_page(browser)
    page.goto(site.url)
    row = page.get_by_role("row", name=re.compile("^report"))
    expect(row).to_contain_text("in 2 min")
    expect(row).to_contain_text("02:00:00")

    site.site.broken["report"] = True
    site.pass_time(minutes=3)
    expect(page.get_by_text("12 of report")).to_be_visible()  # the page has refreshed by itself

    page.locator("dl.tiles").get_by_role("link", name="12").click()
    expect(page.get_by_role("heading", name=re.compile("ConnectionError: the printer"))).to_be_visible()
    follow(page, "shop 7")
    expect(page.locator(".timeline")).to_contain_text("ConnectionError: the printer 0 does not answer")
    follow(page, "report")
    follow(page, "Pause…")
    page.get_by_label("Reason").fill("the printer is being fixed")
    press(page, "Pause")
    expect(page.get_by_role("status").filter(has_text="report is paused.")).to_be_visible()
    expect(page.get_by_text("Paused now: the printer is being fixed")).to_be_visible()

    site.site.broken["report"] = False
    follow(page, "Dead letters")
    press(page, "Retry all with this error")
    expect(page.get_by_text("Done: 12 retried of 12.")).to_be_visible()
    follow(page, "report")
    follow(page, "Resume…")
    press(page, "Resume")
    expect(page.get_by_text("report is resumed.")).to_be_visible()
    site.pass_time(seconds=5)
    assert set(names) == set(site.site.ran)
    follow(page, "Dead letters")
    expect(page.get_by_text("No dead letters.")).to_be_visible()
    follow(page, "Actions")
    for word in ("resume", "retry", "pause"):
        expect(page.get_by_role("row").filter(has_text=word).first).to_be_visible()
    assert wrong == []


def test_each_action_on_an_instance(browser: Browser, site: Served) -> None:
    page, wrong = open_page(browser)
    page.goto(f"{site.url}/task?name=report&by=name")
    follow(page, "Ada")
    for act in ("Trigger", "Pause", "Resume"):
        follow(page, f"{act}…")
        press(page, act)
        expect(page.locator(".said")).to_be_visible()
    site.pass_time(seconds=5)
    assert site.site.ran == ["Ada"]

    follow(page, "Reschedule…")
    expect(page.locator("#preview li")).to_have_count(10)
    page.get_by_label("Expression", exact=True).fill("0 9 * * mon")
    expect(page.locator("#preview")).to_contain_text("only on Monday")
    page.get_by_label("Expression", exact=True).fill("nonsense")
    expect(page.locator("#preview .bad")).to_be_visible()
    page.get_by_label("Interval").check()
    page.get_by_label("Every", exact=True).fill("90m")
    expect(page.locator("#preview li")).to_have_count(10)
    press(page, "Reschedule")
    expect(page.locator(".lead")).to_have_text("Every 1 h 30 min")

    follow(page, "Unschedule…")
    expect(page.get_by_text("This can't be undone.")).to_be_visible()
    press(page, "Unschedule")
    expect(page.locator(".said")).to_have_text("Ada is removed.")
    expect(page.get_by_role("link", name="Ada")).to_have_count(0)
    assert wrong == []


def test_retry_the_selected_instances(browser: Browser, site: Served) -> None:
    site.site.broken["report"] = True
    site.pass_time(minutes=3)
    site.call(partial(schedule, execute_at=START), *_reports(site, "Bob", "Eve"))
    site.pass_time(seconds=2)
    assert site.dead() == 2
    site.site.broken["report"] = False
    page, wrong = open_page(browser)
    page.goto(f"{site.url}/dead")
    page.get_by_role("checkbox").first.check()
    page.wait_for_timeout(3500)  # a refresh keeps the selection
    expect(page.get_by_role("checkbox").first).to_be_checked()
    press(page, "Retry selected")
    expect(page.get_by_text("Done: 1 retried of 1.")).to_be_visible()
    assert wrong == []


def test_roles(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path, START, access=Tokens({TOKEN: "operate", READER: "read"})) as site:
        site.call(partial(schedule, schedule="0 2 * * *"), *_reports(site, "Ada"))
        for token, operates in ((READER, False), (TOKEN, True)):
            page, wrong = open_page(browser)
            page.goto(f"{site.url}/instance?task=report&name=Ada")
            page.get_by_label("Token").fill("no such token")
            press(page, "Log in")
            expect(page.get_by_role("alert")).to_have_text("Unknown token.")
            page.get_by_label("Token").fill(token)
            press(page, "Log in")
            expect(page.get_by_role("heading", name=re.compile("^Ada"))).to_be_visible()
            expect(page.get_by_role("link", name="Pause…")).to_have_count(int(operates))
            press(page, "Log out")
            expect(page.get_by_label("Token")).to_be_visible()
            assert wrong == []


def test_the_storage_becomes_unreachable_and_recovers(browser: Browser, site: Served) -> None:
    page, wrong = open_page(browser)
    page.goto(f"{site.url}/task?name=report&by=name")
    site.make_storage_unreachable()
    expect(page.get_by_role("alert")).to_contain_text("The storage is not responding")
    expect(page.get_by_role("link", name="Ada")).to_be_visible()  # from the earlier answer
    other, _ = open_page(browser)
    other.goto(f"{site.url}/actions")
    expect(other.get_by_role("heading", name="The storage is not responding")).to_be_visible()
    site.storage_comes_back()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(other.get_by_role("heading", name="Actions")).to_be_visible()
    assert wrong == []


def test_a_hidden_tab_asks_for_nothing(browser: Browser, site: Served) -> None:
    page, _ = open_page(browser)
    page.goto(site.url)
    expect(page.locator("#live-state")).to_have_text("Live")
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4000)
    assert asked == []
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_event("response")


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 390)])
def test_accessible(browser: Browser, site: Served, scheme: str, width: int) -> None:
    """Axe reports nothing serious on any page, and no page is wider than the screen."""
    site.call(partial(schedule, execute_at=START), *_reports(site, "Bob"))
    site.site.broken["report"] = True
    site.pass_time(minutes=3)
    axe = chromium.axe()
    page, wrong = open_page(browser, color_scheme=scheme, viewport={"width": width, "height": 844})
    for path in (
        "/",
        "/task?name=report&by=name",
        "/instance?task=report&name=Bob",
        "/runs",
        "/dead",
        "/workers",
        "/calendar",
        "/actions",
        "/act?verb=pause&task=report&kind=dynamic",
        "/act?verb=unschedule&task=report&kind=dynamic&name=Bob",
        "/act?verb=reschedule&task=report&kind=dynamic&name=Ada",
        "/task?name=nobody",
    ):
        page.goto(site.url + path)
        assert serious(page, axe) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert (
            page.evaluate(
                "Math.max(...[...document.querySelectorAll('nav a')].map(a => a.getBoundingClientRect().right))"
            )
            <= width
        )
    assert wrong == []


def test_numbers_of_the_calendar_fit_their_cells(browser: Browser, site: Served) -> None:
    """The widest numbers, on a phone, where the table can be scrolled."""
    page, _ = open_page(browser, viewport={"width": 390, "height": 844})
    page.goto(f"{site.url}/calendar")
    too_wide = page.evaluate("""() => [...document.querySelectorAll('.heat td:not(.right)')].filter(cell => {
        cell.textContent = '8.88k'
        const text = document.createRange()
        text.selectNodeContents(cell)
        return text.getBoundingClientRect().width > cell.clientWidth - 4
    }).length""")
    assert too_wide == 0


def test_by_keyboard(browser: Browser, site: Served) -> None:
    page, _ = open_page(browser)
    page.goto(site.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "cleanup":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^cleanup"))).to_be_visible()
