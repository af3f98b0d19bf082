"""The contents of each page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import get_args

import anyio
import httpx
import pytest

from pyncette import Context, Count, Pyncette, StoredTask, TaskState
from pyncette._tasks.names import Kind
from pyncette_dashboard import Dashboard, questions
from pyncette_dashboard.cache import RESERVE
from pyncette_dashboard.views.shown import Row
from tests.helpers.dashboard import HOSTILE, LOCAL, Browser, Open, Site, make_app, text_of

PAGES = ["/", "/task?name=report", "/task?name=cleanup", "/runs", "/dead", "/workers", "/calendar", "/actions"]
NOW = datetime.now(UTC)


async def with_failures(site: Site, browser: Browser) -> None:
    """Let three reports die and one succeed."""
    await site.context.schedule_task(site.report, "Ada", schedule="0 8 * * *", timezone="Asia/Tokyo", language="en")
    site.broken["report"] = True
    for name in ("Bob", "Eve", HOSTILE):
        await site.context.schedule_task(site.report, name, execute_at=NOW, secret="swordfish")

    async def dead() -> bool:
        return (await site.context.count_tasks(site.report, state="dead")).value == 3

    await site.until(dead)
    site.broken["report"] = False
    await site.context.schedule_task(site.report, "Dan", execute_at=NOW)

    async def logged() -> bool:
        return len((await site.context.runs()).runs) == 4

    await site.until(logged)
    site.look_again()


async def test_an_empty_storage(opened: Open) -> None:
    async with opened(running=False) as site:
        browser = site.browser()
        for path in PAGES:
            await browser.get(path)
            assert browser.last.status_code == (404 if "cleanup" in path else 200), path
        assert "not stored" in text_of(await browser.get("/"))


async def test_late_tasks_are_a_finding(opened: Open) -> None:
    async with opened(running=False) as site:
        due = datetime.now(UTC) - timedelta(hours=2, seconds=5)
        state = TaskState(site.cleanup, due, None, None, "due")
        status = questions.TaskStatus(state, Count(0, exact=True), (), datetime.now(UTC))
        known = [(StoredTask(kind, kind, None, True, True), status, None) for kind in get_args(Kind)]
        found = questions.findings(site.context, [], [], [], known, [])
    assert [each.found for each in found if each.check == "late"] == [
        "static has been due for 2 h",
        "dynamic has instances that have been due for 2 h",
        "partitioned has instances that have been due for 2 h",
    ]


async def test_overview(opened: Open) -> None:
    async with opened() as site:
        browser = site.browser()
        await with_failures(site, browser)
        await site.context.trigger_task(site.cleanup)

        page = await site.shows(browser, "5 runs within", "/")
        page = await site.shows(browser, "Dead 3 dead letters Success 40 % of the last runs", "/")
        assert "At 02:30 (Europe/Berlin)" in page
        assert "Workers 1 0 of 100 busy" in page
        assert re.search(r"report .*per instance .*succeeded", page)
        assert 'class="o-failed"' in browser.last.text
        assert "cleanup" not in text_of(await browser.get("/", q="REP"))
        assert "report" in text_of(await browser.get("/", q="REP"))


async def test_task(opened: Open) -> None:
    async with opened() as site:
        browser = site.browser()
        await with_failures(site, browser)
        page = await site.shows(browser, "Instances 4", "/task", name="report")
        assert "retry max_attempts 1" in page
        assert "Executed by 1 worker" in page
        assert "Ada" in page
        assert "At 08:00 (Asia/Tokyo)" in page
        by_name = text_of(await browser.get("/task", name="report", by="name"))
        assert by_name.index("Ada") < by_name.index("Bob") < by_name.index("Eve")
        assert "Ada" not in text_of(await browser.get("/task", name="report", state="dead"))
        only = text_of(await browser.get("/task", name="report", prefix="Bo"))
        assert "Bob" in only
        assert "Eve" not in only
        await browser.get("/task", name="report", state="sleepy")
        assert browser.last.status_code == 400
        await browser.get("/task", name="reports")
        assert browser.last.status_code == 404


async def test_pages_of_instances(opened: Open) -> None:
    async with opened(running=False) as site:
        names = [f"user-{number:03}" for number in range(120)]
        await site.context.schedule_tasks(site.report, [(name, {"interval": timedelta(days=1)}) for name in names])
        browser = site.browser()
        seen: list[str] = []
        path = "/task?name=report&by=name"
        while path:
            page = await browser.get(path)
            seen += re.findall(r">(user-\d+)</a>", page)
            more = re.search(r'rel="next" href="([^"]+)"', page)
            path = unescape(more[1]) if more else ""
        assert seen == names


async def test_instance(opened: Open) -> None:
    async with opened() as site:
        browser = site.browser(cookies={"pyncette_zone": "America/New_York"})
        await with_failures(site, browser)
        page = text_of(await browser.get("/instance", task="report", name="Ada"))
        assert "At 08:00 (Asia/Tokyo) 0 8 * * *" in page
        assert '"language": "en"' in page
        assert len(re.findall(r"\d\d:00:00 \w+ 08:00 Asia/Tokyo", page)) == 11, "the next ten, and the next one"
        page = text_of(await browser.get("/instance", task="report", name="Bob"))
        assert "None until it is retried" in page
        assert "ConnectionError: the printer" in page
        assert "History failed" in page
        assert "eu-1" in page


async def test_static_task(opened: Open) -> None:
    async with opened() as site:
        page = text_of(await site.browser().get("/task", name="cleanup"))
        assert "At 02:30 (Europe/Berlin) 30 2 * * *" in page
        assert "02:30 Europe/Berlin" in page


async def test_static_task_without_its_code(tmp_path: Path) -> None:
    """As with ``pyncette dashboard --store``, which knows only what is stored."""
    store = f"sqlite:///{tmp_path / 'jobs.db'}"
    app, report, cleanup, ran, broken = make_app(store)
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        while await context.get_task(cleanup) is None:  # noqa: ASYNC110 -- nothing signals it
            await anyio.sleep(0.02)
        context.shutdown()
    operator = Pyncette(store)
    dashboard = Dashboard(operator)
    async with operator.create() as context, dashboard.opened(context):
        site = Site(operator, report, cleanup, context, dashboard, ran, broken)
        page = await site.shows(site.browser(), "At 02:30 (Europe/Berlin) 30 2 * * *", "/task", name="cleanup")
        assert "Next occurrences" in page
        await site.shows(site.browser(), "At 02:30", "/")


async def test_the_next_24_hours_end_a_day_from_now(opened: Open) -> None:
    """Not a day after the start of the current half hour: a daily task that has just run would show no occurrence."""
    async with opened(running=False) as site:
        await site.context.schedule_task(
            site.report, "Ada", execute_at=datetime.now(UTC) + timedelta(days=1, seconds=-1)
        )
        browser = site.browser()
        await site.shows(browser, "peak 1", "/")
        await site.shows(browser, "peak 1", "/task", name="report")


async def test_the_age_of_an_answer_does_not_count_as_lateness(opened: Open) -> None:
    """A task that runs every few seconds is on time, even on a page with an answer that is some seconds old."""
    async with opened(running=False) as site:
        await site.context.schedule_task(site.report, "Ada", execute_at=datetime.now(UTC) - timedelta(seconds=30))
        stored = next(each for each in await site.context.tasks() if each.name == "report")
        row = Row(stored, await questions.status(site.context, site.report), None, orphan=False)
        late = row.late
        assert timedelta(seconds=30) <= late < timedelta(seconds=60)
        await anyio.sleep(0.05)
        assert row.late == late


async def test_runs_with_filters_in_the_address(opened: Open) -> None:
    async with opened() as site:
        browser = site.browser()
        await with_failures(site, browser)
        assert {"Bob", "Eve", "Dan"} <= set(text_of(await browser.get("/runs")).split())
        failed = text_of(await browser.get("/runs", outcome="failed", task="report", within="1h"))
        assert "Bob" in failed
        assert "Dan" not in failed
        assert "Dan" in text_of(await browser.get("/runs", task="report", instance="Dan"))
        assert "Bob" not in text_of(await browser.get("/runs", containing="no such text"))
        await browser.get("/runs", outcome="splendid")
        assert browser.last.status_code == 400


async def test_dead_letters_by_error(opened: Open) -> None:
    async with opened() as site:
        browser = site.browser()
        await with_failures(site, browser)
        page = await site.shows(browser, "report 3", "/dead")
        assert page.count("Retry all with this error") == 1, "numbers alone do not make another error"
        assert {"Bob", "Eve"} <= set(page.split())


async def test_workers(opened: Open) -> None:
    async with opened() as site:
        page = text_of(await site.browser().get("/workers"))
        assert "eu-1 0/100 2" in page


async def test_calendar_shows_the_busiest_minutes(opened: Open) -> None:
    async with opened(running=False) as site:
        when = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=1)
        peak = [(f"timer {number}", {"execute_at": when}) for number in range(30)]
        await site.context.schedule_tasks(site.report, [*peak, ("another", {"interval": timedelta(hours=6)})])
        browser = site.browser()
        await browser.get("/task", name="report")

        async def counted() -> bool:
            site.look_again()
            return "report 30" in text_of(await browser.get("/calendar"))

        await site.until(counted)

        async def drawn() -> bool:
            page = await browser.get("/calendar", days="3")
            return bool(re.search(r'class="l5" title="[^"]*: 3[01], most of report"', page))

        await site.until(drawn)


async def test_the_viewers_zone(opened: Open) -> None:
    async with opened() as site:
        for zone, shown in {"Asia/Kolkata": "Asia/Kolkata", "../../etc/passwd": "UTC", "No/Where": "UTC"}.items():
            page = await site.browser(cookies={"pyncette_zone": zone}).get("/")
            assert f'title="Your timezone">{shown}<' in page


async def test_viewers_share_queries(opened: Open) -> None:
    """More viewers don't cause more queries to the storage."""
    async with opened() as site:
        browsers = [site.browser() for _ in range(20)]
        for browser in browsers:
            await browser.get("/")
        cache = site.dashboard._services.cache
        asked = cache.asked
        for _ in range(5):
            for browser in browsers:
                await browser.get("/")
                await browser.get("/task", name="report")
        assert cache.asked - asked < RESERVE / 4


async def test_many_tasks_cost_few_queries_each(tmp_path: Path) -> None:
    """Even with only the URL of a storage, tasks are not looked up one by one."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    app = Pyncette(url)
    templates = [app.dynamic_task(name=f"task {number:02}")(_nothing) for number in range(30)]
    async with app.create() as context:
        for template in templates:
            await context.schedule_task(template, "one", interval=timedelta(days=1))
    dashboard = Dashboard(url)
    async with dashboard.opened():
        transport = httpx.ASGITransport(dashboard, client=LOCAL)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            page = (await client.get("/")).text
            assert "task 29" in page
            services = dashboard._services
            assert services is not None
            assert services.cache.asked <= RESERVE + 60


async def _nothing(context: Context) -> None: ...


async def test_late_answers_are_announced_and_follow(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page never waits for a slow answer, and never claims that there is nothing to show."""
    async with opened(running=False) as site:
        await site.context.schedule_task(site.report, "Ada", interval=timedelta(days=1))
        slow = anyio.Event()

        async def status(*args: object) -> questions.TaskStatus:
            await slow.wait()
            return await asked(*args)  # type: ignore[arg-type] # as they came

        asked = questions.status
        monkeypatch.setattr(questions, "status", status)
        browser = site.browser()
        page = await browser.get("/dead")
        assert "data-partial" in page
        assert "Looking…" in page
        page = await browser.get("/")
        assert "data-partial" in page
        assert "Dead …" in text_of(page)
        slow.set()
        await site.shows(browser, "No dead letters.", "/dead")
        assert "data-partial" not in browser.last.text


@pytest.mark.parametrize("running", [False, True])
async def test_no_page_waits_for_sizes(opened: Open, monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
    """With millions of instances, sizes take longest. Charts based on them follow later, even if the static tasks are
    known before; the page of dead letters needs no sizes."""
    async with opened(running=running) as site:
        await site.context.schedule_task(site.report, "Ada", interval=timedelta(hours=5))
        slow, begun = anyio.Event(), 0

        async def size(*args: object) -> questions.Size:
            nonlocal begun
            begun += 1
            await slow.wait()
            return await asked(*args)  # type: ignore[arg-type] # as they came

        asked = questions.size
        monkeypatch.setattr(questions, "size", size)
        browser = site.browser()
        await site.shows(browser, "No dead letters.", "/dead")
        assert begun == 0
        for path in ("/", "/calendar", "/task?name=report"):
            assert "data-partial" in await browser.get(path)
        assert begun == 1
        await browser.get("/")
        assert "Instances … of" in text_of(browser.last.text)
        slow.set()

        async def complete() -> bool:
            return "data-partial" not in await browser.get("/")

        await site.until(complete)
        assert re.search(r'aria-label="The next 24 hours: \d+ occurrences"', browser.last.text)


async def test_runs_of_static_tasks_count_without_a_log(opened: Open) -> None:
    """The success rate and the chart of the last runs use the runs stored with the tasks themselves."""
    async with opened(history=None) as site:
        await site.context.trigger_task(site.cleanup)
        page = await site.shows(site.browser(), "Success 100 % of the last runs", "/")
        assert "Nothing yet" not in page
