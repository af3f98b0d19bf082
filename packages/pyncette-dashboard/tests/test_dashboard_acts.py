"""Actions have the effect that their button names, are logged, and explain when they are not possible."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from pyncette import Context, OnExhausted, Pyncette, Retry
from pyncette_dashboard import Dashboard
from tests.helpers.dashboard import Browser, Open, Site

NOW = datetime.now(UTC)


async def logged(site: Site) -> list[tuple[str, str, str | None, str | None, str]]:
    """The log of actions, oldest first."""
    found = (await site.context.actions()).actions
    return [(each.who, each.what, each.task, each.instance, each.detail) for each in reversed(found)]


async def ada(site: Site) -> None:
    await site.context.schedule_task(site.report, "Ada", schedule="0 8 * * *", timezone="Asia/Tokyo", language="en")


async def test_trigger(opened: Open) -> None:
    async with opened() as site:
        await ada(site)
        browser = site.browser()
        assert "Ada will be executed once." in await browser.act("trigger", "report", "dynamic", "Ada")
        await browser.act("trigger", "cleanup", "static")
        await site.until(lambda: set(site.ran) == {"Ada", "cleanup"})
        first, second = await logged(site)
        assert first[:4] == ("local", "trigger", "report", "Ada")
        assert second[:4] == ("local", "trigger", "cleanup", None)
        page = await browser.get("/actions")
        assert page.index("cleanup</a>") < page.index("Ada</a>"), "the newest first"


async def test_a_static_task_is_paused_and_resumed(opened: Open) -> None:
    async with opened() as site:
        browser = site.browser()
        await browser.act("pause", "cleanup", "static", reason="maintenance")
        await site.shows(browser, "Paused 1 task, and", "/")
        assert browser.last.text.count('"Next"><span class="muted">–') == 2, "nothing runs next, as of what is empty"
        page = await site.shows(browser, "cleanup paused", "/task", name="cleanup", kind="static")
        assert "Next occurrences None of these will start while it is paused." in page
        await browser.act("resume", "cleanup", "static")
        state = await site.context.get_task(site.cleanup)
        assert state is not None
        assert state.state == "waiting"
        await site.shows(browser, "Paused 0", "/")


async def test_pause_and_resume(opened: Open) -> None:
    async with opened(running=False) as site:
        await ada(site)
        browser = site.browser()
        page = await browser.act("pause", "report", "dynamic", reason="server <moves>")
        assert "report is paused." in page
        assert "server &lt;moves&gt;" in page
        (stored,) = [task for task in await site.context.tasks() if task.name == "report"]
        assert stored.paused_reason == "server <moves>"
        assert "None of these will start" in await browser.get("/instance", task="report", kind="dynamic", name="Ada")
        await browser.get("/act", verb="pause", task="report", kind="dynamic")
        assert browser.last.status_code == 409, "it is paused"
        await browser.act("resume", "report", "dynamic", catch_up="yes")
        await browser.act("pause", "report", "dynamic", "Ada", reason="on leave")
        state = await site.context.get_task(site.report, "Ada")
        assert state is not None
        assert (state.state, state.paused_reason) == ("paused", "on leave")
        assert 'data-label="Next"><span class="muted">–' in await browser.get("/task", name="report", by="name")
        assert "None of these will start" in await browser.get("/instance", task="report", kind="dynamic", name="Ada")
        await browser.act("resume", "report", "dynamic", "Ada")
        assert "None of these will start" not in await browser.get(
            "/instance", task="report", kind="dynamic", name="Ada"
        )
        assert [entry[1:] for entry in await logged(site)] == [
            ("pause", "report", None, "server <moves>"),
            ("resume", "report", None, "missed occurrences are executed"),
            ("pause", "report", "Ada", "on leave"),
            ("resume", "report", "Ada", "missed occurrences are skipped"),
        ]


async def test_unschedule_asks_first(opened: Open) -> None:
    async with opened(running=False) as site:
        await ada(site)
        browser = site.browser()
        page = await browser.get("/act", verb="unschedule", task="report", kind="dynamic", name="Ada")
        assert "can&#39;t be undone" in page
        assert await site.context.get_task(site.report, "Ada") is not None
        await browser.act("unschedule", "report", "dynamic", "Ada")
        assert await site.context.get_task(site.report, "Ada") is None
        await browser.get("/act", verb="unschedule", task="report", kind="dynamic", name="Ada")
        assert browser.last.status_code == 404


async def test_reschedule_with_a_preview(opened: Open) -> None:
    async with opened(running=False) as site:
        await ada(site)
        browser = site.browser(cookies={"pyncette_zone": "Asia/Kolkata"})
        page = await browser.get("/act", verb="reschedule", task="report", kind="dynamic", name="Ada")
        assert 'value="0 8 * * *"' in page
        assert 'value="Asia/Tokyo"' in page
        page = await browser.get("/act/preview", how="cron", cron="30 2 * * *", timezone="Europe/Berlin")
        assert "At 02:30" in page
        assert page.count("02:30 Europe/Berlin") == 10
        assert "not a duration" in await browser.get("/act/preview", how="every", every="often")
        assert "not a date and time" in await browser.get("/act/preview", how="once", at="soon")
        assert "nknown" in await browser.get("/act/preview", how="cron", cron="* * * * *", timezone="Mars/Base")

        await browser.act("reschedule", "report", "dynamic", "Ada", how="every", every="90m")
        state = await site.context.get_task(site.report, "Ada")
        assert state is not None
        assert state.task.interval == timedelta(minutes=90)
        assert state.task.extra_args == {"language": "en"}, "they stay"
        await browser.act("reschedule", "report", "dynamic", "Ada", how="once", at="2050-01-31T08:00")
        state = await site.context.get_task(site.report, "Ada")
        assert state is not None
        assert state.scheduled_at == datetime(2050, 1, 31, 2, 30, tzinfo=UTC), "what is typed is in the viewer's zone"
        await browser.act("reschedule", "report", "dynamic", "Ada", how="cron", cron="0 9 * * *", timezone="")
        state = await site.context.get_task(site.report, "Ada")
        assert state is not None
        assert (state.task.schedule, state.task.timezone) == ("0 9 * * *", None)
        details = [entry[4] for entry in await logged(site)]
        assert details == ["every 1 h 30 min", "once, at 2050-01-31T08:00:00+05:30", "0 9 * * *"]


async def test_an_invalid_action_changes_nothing(opened: Open) -> None:
    async with opened(running=False) as site:
        await ada(site)
        browser = site.browser()
        about = {"task": "report", "kind": "dynamic", "name": "Ada"}
        await browser.get("/")
        for form, status in (
            ({"verb": "reschedule", "how": "cron", "cron": "61 * * * *"}, 400),
            ({"verb": "reschedule", "how": "every", "every": "-5m"}, 400),
            ({"verb": "reschedule", "how": ""}, 400),
            ({"verb": "pause", "reason": "x" * 501}, 400),
            ({"verb": "retry"}, 409),
            ({"verb": "resume"}, 409),
            ({"verb": "explode"}, 400),
            ({"verb": "pause", "task": "nobody"}, 404),
        ):
            await browser.post("/act", **{**about, **form})
            assert browser.last.status_code == status, form
        state = await site.context.get_task(site.report, "Ada")
        assert state is not None
        assert state.task.schedule == "0 8 * * *"
        assert await logged(site) == []


async def dying(site: Site, names: list[str]) -> Browser:
    site.broken["report"] = True
    await site.context.schedule_tasks(site.report, [(name, {"execute_at": NOW}) for name in names])

    async def dead() -> bool:
        return (await site.context.count_tasks(site.report, state="dead")).value == len(names)

    await site.until(dead)
    site.broken["report"] = False
    browser = site.browser()
    await site.shows(browser, "Retry all with this error", "/dead")
    return browser


async def finished(site: Site, browser: Browser) -> str:
    """The page of the job that has just been started, once it has ended."""
    address = str(browser.last.url)

    async def over() -> bool:
        return "Done:" in await browser.get(address)

    await site.until(over)
    return browser.last.text


async def test_retry_one(opened: Open) -> None:
    async with opened() as site:
        browser = await dying(site, ["Bob", "Eve"])
        await browser.act("retry", "report", "dynamic", "Bob")
        await site.until(lambda: site.ran == ["Bob"])
        assert (await logged(site))[0][:4] == ("local", "retry", "report", "Bob")


async def test_retry_a_selection(opened: Open) -> None:
    async with opened() as site:
        browser = await dying(site, ["Bob", "Dan", "Eve"])
        about = {"task": "report", "kind": "dynamic"}
        await browser.post("/dead/retry", **about, how="selected")
        assert browser.last.status_code == 400, "nothing is selected"
        await browser.get("/dead")
        await browser.post("/dead/retry", **about, how="selected", instance=["Bob", "Eve", "Gone"])
        page = await finished(site, browser)
        assert "2 retried of 3, 1 not." in page
        assert "Gone: " in page
        await site.until(lambda: set(site.ran) == {"Bob", "Eve"})


async def test_retry_all_with_one_error(opened: Open) -> None:
    async with opened() as site:
        browser = await dying(site, [f"report {number}" for number in range(250)])
        group = re.search(r'name="error" value="([^"]*)"', browser.last.text)
        assert group is not None
        about = {"task": "report", "kind": "dynamic", "how": "group", "count": "250"}
        await browser.post("/dead/retry", **about, error="Another error")
        assert "0 retried" in await finished(site, browser)
        await browser.get("/dead")
        from html import unescape

        await browser.post("/dead/retry", **about, error=unescape(group[1]))
        assert "250 retried of 250." in await finished(site, browser)
        await site.until(lambda: len(site.ran) == 250)
        await site.shows(browser, "No dead letters.", "/dead")


async def test_retry_static_tasks_together() -> None:
    """Those with one error, a selection, or all, across tasks."""
    app = Pyncette(poll_interval=timedelta(milliseconds=50))
    broken, ran = {"a", "b", "c"}, []

    async def work(context: Context) -> None:
        if context.task.name in broken:
            raise ConnectionError("the disk is full" if context.task.name == "a" else "the network is down")
        ran.append(context.task.name)

    policies: dict[str, Any] = {"retry": Retry(max_attempts=1), "on_exhausted": OnExhausted.HOLD}
    tasks = [app.task(name=name, interval=timedelta(milliseconds=50), **policies)(work) for name in "abc"]
    dashboard = Dashboard(app)
    async with app.create() as context, dashboard.opened(context), anyio.create_task_group() as group:
        site = Site(app, tasks[0], tasks[1], context, dashboard, ran, {})
        group.start_soon(context.run)
        browser = site.browser()
        await site.shows(browser, "Static tasks 3", "/dead")
        for who, form in (
            ({"a"}, {"how": "group", "error": "ConnectionError: the disk is full"}),
            ({"b"}, {"how": "selected", "instance": ["b"]}),
            ({"a", "b", "c"}, {"how": "all"}),
        ):
            broken -= who
            await browser.get("/dead")
            await browser.post("/dead/retry", kind="static", **form)
            assert "1 retried" in await finished(site, browser)
            await site.until(partial(who.issubset, ran))
        details = [entry[1:] for entry in await logged(site)]
        assert ("retry", None, None, "Retry all that are dead: 1 retried, 0 not") in details
        context.shutdown()


@pytest.mark.parametrize("source", ["sqlite"], indirect=True)
async def test_purge_an_orphan(opened: Open, source: str) -> None:
    """Only tasks that no live worker executes can be purged, and only by typing their name."""
    old = Pyncette(source)
    legacy = old.dynamic_task(name="legacy")(_nothing)
    async with old.create() as context:
        await context.schedule_tasks(legacy, [(f"{number}", {"execute_at": NOW}) for number in range(250)])
    async with opened() as site:
        browser = site.browser()
        await browser.get("/act", verb="purge", task="report", kind="dynamic")
        assert browser.last.status_code == 409, "this app declares it"
        await browser.get("/act", verb="purge", task="cleanup", kind="static")
        assert browser.last.status_code == 409, "it is executed"
        assert "Purge…" in await browser.get("/task", name="legacy")
        await browser.act("purge", "legacy", "dynamic", typed="Legacy")
        assert browser.last.status_code == 400
        await browser.act("purge", "legacy", "dynamic", typed="legacy")
        assert "250 removed." in await finished(site, browser)
        assert [task.name for task in await site.context.tasks()] == ["cleanup", "report"]
        assert [entry[1:] for entry in await logged(site)] == [
            ("purge", "legacy", None, "begun"),
            ("purge", "legacy", None, "250 removed"),
        ]


async def _nothing(context: Context) -> None: ...


async def test_retry_all_retries_each_instance_once(opened: Open) -> None:
    """Instances that die again in the meantime are left alone."""
    async with opened() as site:
        browser = await dying(site, [f"report {number}" for number in range(30)])
        site.broken["report"] = True
        await browser.post("/dead/retry", task="report", kind="dynamic", how="all")
        page = await finished(site, browser)
        done = re.search(r"Done:\s+(\d+) retried", page)
        assert done is not None
        assert int(done[1]) == 30
        assert [entry[4] for entry in await logged(site)] == [
            "Retry all that are dead: begun",
            "Retry all that are dead: 30 retried, 0 not",
        ]
