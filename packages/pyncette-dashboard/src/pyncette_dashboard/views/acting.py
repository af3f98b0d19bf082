"""Actions on a task or an instance. Each has a form that explains it, and is written to the log of actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from pyncette import StoredTask, Task, TaskState
from pyncette_dashboard.jobs import Job, new_job
from pyncette_dashboard.page import Page, Refused
from pyncette_dashboard.services import Services

from .rescheduling import Wanted, coming, preview_of, wanted_of


@dataclass(frozen=True, slots=True)
class Subject:
    """The target of an action: a template, a static task or an instance.

    :ivar name: the name of an instance; None otherwise.
    :ivar state: None for a template.
    :ivar orphan: whether no live worker executes it.
    """

    stored: StoredTask
    task: Task
    name: str | None
    state: TaskState | None
    orphan: bool = False

    @property
    def is_template(self) -> bool:
        return self.task.dynamic and self.name is None


Does = Callable[[Page, Subject], Awaitable["str | Job"]]
"""Performs an action and returns its description for the log of actions, or starts a job if it takes long."""


@dataclass(frozen=True, slots=True)
class Verb:
    """An action.

    :ivar title: the text of its button.
    :ivar says: its explanation in the form.
    :ivar destroys: whether it can't be undone.
    :ivar past: the message afterwards.
    """

    title: str
    says: str
    past: str
    fits: Callable[[Subject], bool]
    does: Does
    destroys: bool = False


async def _trigger(page: Page, subject: Subject) -> str:
    run = await page.services.context.trigger_task(subject.task, subject.name)
    return f"run {run}"


async def _pause(page: Page, subject: Subject) -> str:
    reason = page.given("reason").strip()
    await page.services.context.pause_task(subject.task, subject.name, reason=reason)
    return reason


async def _resume(page: Page, subject: Subject) -> str:
    catch_up = page.given("catch_up") == "yes"
    await page.services.context.resume_task(subject.task, subject.name, catch_up=catch_up)
    return "missed occurrences are executed" if catch_up else "missed occurrences are skipped"


async def _retry(page: Page, subject: Subject) -> str:
    if not await page.services.context.retry_task(subject.task, subject.name):
        raise Refused(409, "It is no longer dead", "Someone else may have retried it.")
    return ""


async def _unschedule(page: Page, subject: Subject) -> str:
    await page.services.context.unschedule_task(subject.task, subject.name)
    return ""


async def _reschedule(page: Page, subject: Subject) -> str:
    wanted = wanted_of(page.given, page.zone)
    if subject.state is None or subject.name is None:
        raise Refused(409, "There is nothing to reschedule")
    own = subject.state.task
    await page.services.context.schedule_task(
        subject.task,
        subject.name,
        schedule=wanted.schedule,
        interval=wanted.interval,
        execute_at=wanted.execute_at,
        timezone=wanted.timezone,
        end_at=None if wanted.execute_at is not None else own.end_at,
        max_runs=None if wanted.execute_at is not None else own.max_runs,
        args=own.extra_args,
    )
    return wanted.said


async def _purge(page: Page, subject: Subject) -> Job:
    services, stored, who = page.services, subject.stored, page.visitor.name
    if page.given("typed").strip() != stored.name:
        raise Refused(400, "The name is not right", f"Go back, and type {stored.name} to confirm.")
    job = new_job(f"Purge {stored.name}", "removed", stored.name, who, None)

    async def work(job: Job) -> None:
        def progress(removed: int) -> None:
            job.done = removed

        job.done = await services.context.purge(stored.name, progress, kind=stored.kind)

    async def ended(job: Job) -> None:
        services.cache.forget()
        note = f"{job.done:,} removed" + (f"; stopped: {job.error}" if job.error else "")
        await services.note(who, "purge", stored.name, None, note)

    services.jobs.start(job, work, ended)
    return job


def _has_runs(subject: Subject) -> bool:
    return not subject.is_template and subject.state is not None and subject.state.state != "unreadable"


def _is_paused(subject: Subject) -> bool:
    if subject.is_template:
        return subject.stored.paused_since is not None
    by_itself = subject.stored.kind == "static" or subject.stored.paused_since is None
    return subject.state is not None and subject.state.state == "paused" and by_itself


def _is_dead(subject: Subject) -> bool:
    return subject.state is not None and subject.state.state == "dead"


def _can_be_paused(subject: Subject) -> bool:
    if subject.is_template:
        return subject.stored.paused_since is None
    return _has_runs(subject) and subject.state is not None and subject.state.state not in ("paused", "completed")


def _is_instance(subject: Subject) -> bool:
    return subject.name is not None


VERBS = {
    "trigger": Verb(
        "Trigger",
        "It runs once, now, in addition to its schedule, even if it is paused or dead.",
        "will be executed once",
        _has_runs,
        _trigger,
    ),
    "retry": Verb(
        "Retry",
        "It gets fresh attempts immediately. Occurrences that came due while it was dead are skipped.",
        "gets fresh attempts",
        _is_dead,
        _retry,
    ),
    "pause": Verb(
        "Pause",
        "No further executions start. Those under way finish as usual.",
        "is paused",
        _can_be_paused,
        _pause,
    ),
    "resume": Verb("Resume", "Executions start again.", "is resumed", _is_paused, _resume),
    "reschedule": Verb(
        "Reschedule",
        "Its schedule is replaced; its arguments stay. A dead instance starts over.",
        "has a new schedule",
        lambda subject: _is_instance(subject) and _has_runs(subject),
        _reschedule,
    ),
    "unschedule": Verb(
        "Unschedule",
        "It is removed, with its arguments, its recent runs and its totals. An execution under way loses its lease. "
        "This can't be undone.",
        "is removed",
        _is_instance,
        _unschedule,
        destroys=True,
    ),
    "purge": Verb(
        "Purge",
        "Everything that is stored for it is removed: instances, arguments, pause and partition count. This can't be "
        "undone. No live worker executes it, as far as is known: workers with register_worker=False are not.",
        "is being removed",
        lambda subject: subject.orphan and subject.name is None,
        _purge,
        destroys=True,
    ),
}


async def fitting(
    services: Services, stored: StoredTask, task: Task, name: str | None, state: TaskState | None
) -> dict[str, Verb]:
    """The actions that are possible on a subject, by their name in the URL."""
    subject = Subject(stored, task, name, state, await is_orphan(services, stored))
    return {word: verb for word, verb in VERBS.items() if verb.fits(subject)}


async def is_orphan(services: Services, stored: StoredTask) -> bool:
    """Whether a worker is alive, and none executes it."""
    if not await services.workers():
        return False
    return any((each.name, each.kind) == (stored.name, stored.kind) for each in await services.orphans())


async def form(page: Page) -> Response:
    """The form that explains an action and asks for its input."""
    word = page.asked("verb")
    subject = await _subject(page, page.asked)
    verb = _verb(word, subject)
    return page.render(
        "act.html",
        word=word,
        verb=verb,
        subject=subject,
        wanted=Wanted.of(subject.state.task) if word == "reschedule" and subject.state is not None else None,
        count=await _count(page, subject),
    )


async def act(page: Page) -> Response:
    """Performs an action."""
    word = page.given("verb")
    subject = await _subject(page, page.given)
    verb = _verb(word, subject)
    done = await verb.does(page, subject)
    page.services.cache.forget()
    detail = done if isinstance(done, str) else "begun"
    await page.services.note(page.visitor.name, word, subject.stored.name, subject.name, detail)
    if isinstance(done, Job):
        return page.redirect(page.url("/job", id=done.id))
    named = subject.stored.name if subject.name is None else subject.name
    return page.redirect(_back(page, word, subject), f"{named} {verb.past}.")


async def preview(page: Page) -> Response:
    """The next occurrences of a schedule that is being typed."""
    try:
        wanted = wanted_of(page.asked, page.zone)
        found, words, error = coming(wanted, page.now), preview_of(wanted), ""
    except (ValueError, TypeError, Refused) as e:
        found, words, error = [], "", str(e)
    return page.render("preview.html", upcoming=found, words=words, error=error)


async def _subject(page: Page, field: Callable[..., str]) -> Subject:
    services = page.services
    stored = await services.stored(field("task"), field("kind"))
    template = await services.template(stored.name, stored.kind)
    name = field("name") if stored.kind != "static" and field("name") else None
    if template.dynamic and name is None:
        return Subject(stored, template, None, None, await is_orphan(services, stored))
    state = await services.context.get_task(template, name)
    if state is None:
        raise LookupError(
            f"{stored.name!r} has no instance {name!r} any more." if name else f"{stored.name!r} is gone."
        )
    return Subject(stored, template, name, state, await is_orphan(services, stored))


def _verb(word: str, subject: Subject) -> Verb:
    verb = VERBS.get(word)
    if verb is None:
        raise Refused(400, f"There is no action {word!r}")
    if not verb.fits(subject):
        raise Refused(409, f"{verb.title}: not possible now", "Someone else may have changed it. Reload the page.")
    return verb


async def _count(page: Page, subject: Subject) -> str:
    """The number of a template's instances, for the form."""
    if not subject.is_template:
        return ""
    known = await page.services.size(subject.task)
    return f"{'' if known.count.exact else 'about '}{known.count.value:,}"


def _back(page: Page, word: str, subject: Subject) -> str:
    if subject.name is None or word == "unschedule":
        return page.url("/task", name=subject.stored.name, kind=subject.stored.kind)
    return page.url("/instance", task=subject.stored.name, kind=subject.stored.kind, name=subject.name)
