"""Access control: who has access, what each role may do, and what nobody may do."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from pyncette import Pyncette
from pyncette_dashboard import Dashboard, Loopback, Passwords, Role, Tokens, Visitor
from tests.helpers.dashboard import HOSTILE, LOCAL, Open, Site

TOKEN, READER = "operators-token-0123456789", "readers-token-0123456789"
PAGES = ["/", "/task?name=report", "/runs", "/dead", "/workers", "/calendar", "/actions", "/act?verb=pause&task=report"]
FORM = {"verb": "pause", "task": "report", "kind": "dynamic"}


async def seeded(site: Site) -> None:
    args = {"secret": "swordfish", "x<b>": "<i>"}
    await site.context.schedule_task(site.report, HOSTILE, schedule="0 8 * * *", args=args)


async def test_by_default_access_is_limited_to_loopback(opened: Open) -> None:
    async with opened(running=False) as site:
        await seeded(site)
        for browser in (
            site.browser(peer=("10.1.2.3", 4000)),
            site.browser(headers={"X-Forwarded-For": "10.1.2.3"}),
            site.browser(headers={"Forwarded": "for=10.1.2.3"}),
            site.browser(headers={"Host": "rebound.example:8080"}),
        ):
            for path in PAGES:
                page = await browser.get(path)
                assert browser.last.status_code == 403
                assert "report" not in page
        await (local := site.browser()).get("/")
        assert local.last.status_code == 200


def roles() -> dict[str, tuple[Any, dict[str, str]]]:
    """For each way to assign the role of a reader: the dashboard's ``access``, and the browser's headers."""
    basic = base64.b64encode(b"ada:pass:word").decode()

    async def later(request: Request) -> str:
        return request.headers["x-role"]

    return {
        "loopback": (Loopback("read"), {}),
        "token": (Tokens({TOKEN: "operate", READER: "read"}), {"Authorization": f"Bearer {READER}"}),
        "basic": (Passwords({"ada": ("pass:word", Role.READ)}), {"Authorization": f"Basic {basic}"}),
        "function": (lambda request: Role.READ, {}),
        "coroutine function": (later, {"X-Role": "read"}),
        "visitor": (lambda request: Visitor(Role.READ, "eve"), {}),
    }


@pytest.mark.parametrize("way", roles())
async def test_readers_change_nothing(opened: Open, way: str) -> None:
    access, headers = roles()[way]
    async with opened(running=False, access=access) as site:
        await seeded(site)
        browser = site.browser(headers=headers)
        for path in PAGES[:-1]:
            page = await browser.get(path)
            assert browser.last.status_code == 200
            assert "/act" not in page.replace("/actions", "")
        for path in ("/act?verb=pause&task=report", "/act/preview?how=cron&cron=*+*+*+*+*"):
            await browser.get(path)
            assert browser.last.status_code == 403
        await browser.get("/")
        csrf = browser.csrf()
        for path in ("/act", "/dead/retry"):
            answer = await browser.client.post(path, data={**FORM, "csrf": csrf, "how": "all"})
            assert answer.status_code == 403
            assert "read-only" in answer.text
        (stored,) = [task for task in await site.context.tasks() if task.name == "report"]
        assert stored.paused_since is None


@pytest.mark.parametrize(
    "access, headers",
    [
        (Tokens({TOKEN: "operate"}), {"Authorization": f"Bearer {TOKEN}x"}),
        (Tokens({TOKEN: "operate"}), {"Authorization": "Basic " + base64.b64encode(f":{TOKEN}".encode()).decode()}),
        (Passwords({"ada": ("right", "operate")}), {"Authorization": "Basic " + base64.b64encode(b"ada:no").decode()}),
        (Passwords({"ada": ("right", "operate")}), {"Authorization": "Basic " + base64.b64encode(b"eve:").decode()}),
        (Passwords({"ada": ("right", "operate")}), {"Authorization": "Basic %%%"}),
        (lambda request: None, {}),
        (lambda request: "none", {}),
        (lambda request: Visitor(Role.NONE, "eve"), {}),
    ],
)
async def test_visitors_without_a_role_see_nothing(opened: Open, access: Any, headers: dict[str, str]) -> None:
    async with opened(running=False, access=access) as site:
        await seeded(site)
        browser = site.browser(headers=headers)
        for path in PAGES:
            page = await browser.get(path)
            assert browser.last.status_code in (303, 401, 403)
            assert "report" not in page


async def test_a_program_with_a_wrong_token_is_not_sent_to_the_login(opened: Open) -> None:
    async with opened(running=False, access=Tokens({TOKEN: "operate"})) as site:
        browser = site.browser(headers={"Authorization": f"Bearer {TOKEN}x"})
        await browser.get("/")
        assert browser.last.status_code == 401
        assert browser.last.headers["www-authenticate"] == "Bearer"


async def test_basic_login_asks(opened: Open) -> None:
    async with opened(running=False, access=Passwords({"ada": ("right", "operate")})) as site:
        browser = site.browser(auth=("ada", "right"))
        await browser.get("/")
        assert "ada" in browser.last.text
        await (other := site.browser()).get("/")
        assert other.last.status_code == 401
        assert other.last.headers["www-authenticate"].startswith("Basic ")


async def test_logging_in_with_a_token_and_out(opened: Open) -> None:
    async with opened(running=False, access=Tokens({TOKEN: "operate", READER: "read"})) as site:
        browser = site.browser()
        await browser.get("/workers")
        assert browser.last.status_code == 303
        await browser.get(browser.last.headers["location"])
        assert "Unknown token" in await browser.post("/login", token="wrong", next="/workers")
        assert browser.last.status_code == 403
        await browser.get("/login", next="/workers")
        page = await browser.post("/login", token=f" {TOKEN} ", next="/workers")
        assert "<h1>Workers</h1>" in page
        assert TOKEN not in page
        await browser.post("/logout")
        await browser.get("/")
        assert browser.last.status_code == 303


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:1"])
async def test_a_login_does_not_redirect_to_other_sites(opened: Open, elsewhere: str) -> None:
    async with opened(running=False, access=Tokens({TOKEN: "operate"})) as site:
        browser = site.browser()
        await browser.get("/login", next=elsewhere)
        csrf = browser.csrf()
        answer = await browser.client.post("/login", data={"csrf": csrf, "token": TOKEN, "next": elsewhere})
        assert answer.headers["location"] == "/"


async def test_cross_site_forms_are_refused(opened: Open) -> None:
    async with opened(running=False) as site:
        await seeded(site)
        browser = site.browser()
        await browser.get("/act", **FORM)
        csrf = browser.csrf()
        post = browser.client.post
        assert (await post("/act", data=FORM)).status_code == 403
        assert (await post("/act", data={**FORM, "csrf": "x" * 43})).status_code == 403
        crossed = {"Sec-Fetch-Site": "cross-site"}
        assert (await post("/act", data={**FORM, "csrf": csrf}, headers=crossed)).status_code == 403
        other = site.browser()
        await other.get("/")
        assert (await other.client.post("/act", data={**FORM, "csrf": csrf})).status_code == 403, "another session"
        assert (await browser.client.get("/act", params={**FORM, "csrf": csrf})).status_code == 200, (
            "GET changes nothing"
        )
        assert (await post("/act", content=b"x" * 2_000_000)).status_code == 413
        assert [task.paused_since for task in await site.context.tasks()] in ([None], [None, None])
        assert (await post("/act", data={**FORM, "csrf": csrf})).status_code == 303


async def test_cookies(opened: Open) -> None:
    async with opened(running=False) as site:
        await (browser := site.browser()).get("/")
        cookie = browser.last.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie, "a browser would not send it back over plain HTTP"
        forged = browser.client.cookies["pyncette_dashboard"].replace(".", "x.", 1)
        await (other := site.browser(cookies={"pyncette_dashboard": forged})).get("/")
        assert "set-cookie" in other.last.headers, "what is not signed by us is no session"


@pytest.mark.parametrize("scheme, secure", [("https", True), ("https,http", True), ("http", False), ("", False)])
async def test_cookies_behind_a_proxy(opened: Open, scheme: str, secure: bool) -> None:
    """Cookies are marked as secure if the proxy says that the browser's connection is encrypted."""
    async with opened(running=False) as site:
        answer = await site.browser().client.get("/", headers={"X-Forwarded-Proto": scheme})
        assert ("secure" in answer.headers["set-cookie"].lower().split("; ")) is secure


class Scripts(HTMLParser):
    """Collects the parts of a page that a strict content security policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "script" and not str(names.get("src", "")).startswith("/static/"):
            self.found.append(f"a script of its own: {names}")
        if tag in ("style", "iframe", "object", "embed", "base"):
            self.found.append(tag)
        self.found += [f"{tag} {name}" for name in names if name == "style" or name.startswith(("on", "hx-on"))]
        for name in ("href", "src", "action", "hx-get"):
            if name in names and not str(names[name]).startswith(("/", "#")):
                self.found.append(f"{tag} {name}={names[name]}")


async def test_a_hostile_name_is_text(opened: Open) -> None:
    """As a name, an argument and an error, on each page that shows it."""
    async with opened() as site:
        await seeded(site)
        site.broken["report"] = True
        await site.context.trigger_task(site.report, HOSTILE)
        browser = site.browser()
        await site.until(lambda: _failed(site))
        site.look_again()
        about = {"task": "report", "name": HOSTILE}
        pages = {path: await browser.get(path) for path in PAGES}
        pages["instance"] = await browser.get("/instance", **about)
        pages["filtered"] = await browser.get("/task", name="report", prefix="<script>")
        pages["act"] = await browser.get("/act", verb="unschedule", kind="dynamic", **about)
        pages["acted"] = await browser.act("pause", "report", "dynamic", HOSTILE, reason=HOSTILE)
        pages["not found"] = await browser.get("/task", name=HOSTILE)
        pages["actions"] = await browser.get("/actions")
        for name, page in pages.items():
            assert "<script>alert" not in page, name
            assert "\u202e" not in re.sub(r"<[^>]+>", "", page), name
            parser = Scripts()
            parser.feed(page)
            assert parser.found == [], name
        assert "&lt;script&gt;alert(1)" in pages["instance"]
        assert "&lt;script&gt;alert(1)" in pages["actions"]


async def _failed(site: Site) -> bool:
    state = await site.context.get_task(site.report, HOSTILE)
    return state is not None and any(run.outcome == "failed" for run in state.runs)


async def test_headers(opened: Open) -> None:
    async with opened(running=False) as site:
        browser = site.browser()
        for path in ("/", "/static/dashboard.js", "/static/htmx.min.js", "/nowhere", "/task?name=nobody"):
            await browser.get(path)
            policy = browser.last.headers["content-security-policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
            assert "unsafe" not in policy
            assert browser.last.headers["x-content-type-options"] == "nosniff"
            assert browser.last.headers["x-frame-options"] == "DENY"
        await browser.get("/")
        assert browser.last.headers["cache-control"] == "no-store"


async def test_arguments_are_hidden_by_option(opened: Open) -> None:
    async with opened(running=False, hide_arguments=True) as site:
        await seeded(site)
        browser = site.browser()
        for path in PAGES:
            assert "swordfish" not in await browser.get(path)
        page = await browser.get("/instance", task="report", name=HOSTILE)
        assert "swordfish" not in page
        assert "hidden" in page
    async with opened(running=False) as site:
        await seeded(site)
        assert "swordfish" in await site.browser().get("/instance", task="report", name=HOSTILE)


async def test_behind_a_prefix(opened: Open) -> None:
    """All URLs start with the path at which the dashboard is mounted, or with the proxy's prefix."""
    async with opened(running=False) as site:
        await seeded(site)
        host = Starlette(routes=[Mount("/ops/jobs", site.dashboard)])
        transport = httpx.ASGITransport(host, client=LOCAL, root_path="/outside")
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for path in PAGES:
                answer = await client.get("/outside/ops/jobs" + path)
                assert answer.status_code == 200, path
                links = re.findall(r'(?:href|src|action|hx-get)="([^"#]*)"', answer.text)
                assert links
                assert all(link.startswith("/outside/ops/jobs/") for link in links), path
            assert (await client.get("/outside/ops/jobs/static/dashboard.css")).status_code == 200
            assert {cookie.path for cookie in client.cookies.jar} == {"/outside/ops/jobs"}


@pytest.mark.parametrize("before", ["", "/jobs"])
@pytest.mark.parametrize("after", ["", "/"])
async def test_behind_a_host_that_strips_its_prefix(opened: Open, before: str, after: str) -> None:
    """And below a host that ends each path with a slash."""
    async with opened(running=False, root_path="/jobs") as site:
        await seeded(site)
        browser = site.browser()
        for path in ("/workers", "/static/dashboard.css"):
            await browser.get(before + path + after)
            assert browser.last.status_code == 200
        await browser.get(before + "/")
        links = re.findall(r'(?:href|src|action|hx-get)="([^"#]*)"', browser.last.text)
        assert all(link.startswith("/jobs/") for link in links)


async def test_searches_and_previews_are_bounded(opened: Open) -> None:
    async with opened(running=False) as site:
        await seeded(site)
        browser = site.browser()
        await browser.get("/task", name="report", prefix="x" * 10_000)
        assert browser.last.status_code == 200
        for cron in ("* " * 5000, "1,2,3,4," * 500 + "5 * * * *", "nonsense", "0 0 30 2 *"):
            page = await browser.get("/act/preview", how="cron", cron=cron)
            assert 'class="bad"' in page
        assert len(await browser.get("/act/preview", how="cron", cron="* * * * * *")) < 10_000


def test_invalid_settings_are_refused_at_once() -> None:
    app: Any = Pyncette()
    number: Any = 7
    unmade: Any = Tokens
    for wrong, said in (
        (lambda: Dashboard(number), "takes an app or the URL"),
        (lambda: Dashboard(app, access=number), "access must be Loopback"),
        (lambda: Dashboard(app, access=unmade), "access must be Loopback"),
        (lambda: Dashboard("nosuch://x"), "nosuch"),
        (lambda: Loopback("admin"), "'none', 'read' or 'operate'"),
        (lambda: Tokens({}), "needs a token"),
        (lambda: Tokens({"short": "read"}), "16 characters"),
        (lambda: Passwords({}), "needs a user"),
        (lambda: Passwords({"ada": ("", "read")}), "empty"),
    ):
        with pytest.raises((TypeError, ValueError), match=re.escape(said)):
            wrong()
