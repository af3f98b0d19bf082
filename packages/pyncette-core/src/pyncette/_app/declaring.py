"""The decorators that declare tasks."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Literal, Never, Protocol, TypeVar

from pyncette._tasks.keywords import SCHEDULE_PARAMETERS, Argument, declared_args
from pyncette._tasks.names import check_name, escape, partition_of, static_queue
from pyncette._tasks.partition import PartitionedTask
from pyncette._tasks.policies import POLICIES, CatchUp, ExecutionMode, FailureMode, OnExhausted, Overlap, Policies
from pyncette._tasks.retry import RetryPolicy
from pyncette._tasks.signature import read_arguments
from pyncette._tasks.spec import encode_args
from pyncette._tasks.task import PartitionSelector, Task
from pyncette._tasks.timing import KINDS, Timing, read_bounds, read_timing
from pyncette._validation.checks import check_flag, check_function, check_no_generator
from pyncette.schedule import make_schedule

from .context import Context, TaskFunc

logger: logging.Logger = logging.getLogger(__name__)

TaskT = TypeVar("TaskT", bound=Task)


if TYPE_CHECKING:
    from pyncette._tasks.bound import P


class Decorator(Protocol):
    """Makes a task of a function, or of another task's. What the function takes after its context are its arguments."""

    def __call__(self, func: Callable[Concatenate[Context, P], Any], /) -> Task[P]: ...


class PartitionedDecorator(Protocol):
    """As :class:`Decorator`, for partitioned tasks."""

    def __call__(self, func: Callable[Concatenate[Context, P], Any], /) -> PartitionedTask[P]: ...


class Declarations:
    """The tasks of an app, and the decorators that declare them.

    The decorators name each parameter, as type checkers and editors read nothing else. Names, types, defaults and
    documentation of policies are those of ``pyncette._tasks.policies``.
    """

    def __init__(self) -> None:
        self._tasks: list[Task] = []
        self._opened = 0

    @property
    def declared(self) -> tuple[Task, ...]:
        """All tasks, in the order in which they were declared."""
        return tuple(self._tasks)

    def _warn_if_late(self, what: str, name: str) -> None:
        if self._opened:
            logger.warning(
                "The %s %r was added while the app is open, and has no effect on it: add it before app.create().",
                what,
                name,
            )

    def task(
        self,
        /,
        *misplaced: Never,
        name: str | None = None,
        schedule: str | None = None,
        interval: datetime.timedelta | None = None,
        timezone: str | None = None,
        start_at: datetime.datetime | None = None,
        end_at: datetime.datetime | None = None,
        max_runs: int | None = None,
        enabled: bool = True,
        fast_forward: bool = False,
        failure_mode: FailureMode = FailureMode.NONE,
        execution_mode: ExecutionMode = ExecutionMode.AT_LEAST_ONCE,
        lease_duration: datetime.timedelta = datetime.timedelta(seconds=60),
        heartbeat: bool | Literal["cancel"] = True,
        retry: RetryPolicy | None = None,
        on_exhausted: OnExhausted | None = None,
        catch_up: CatchUp = CatchUp.ALL,
        timeout: datetime.timedelta | None = None,
        max_lateness: datetime.timedelta | None = None,
        overlap: Overlap = Overlap.QUEUE,
        jitter: datetime.timedelta | None = None,
        concurrency: int | None = None,
        retain: datetime.timedelta | None = None,
        pause_after: int | None = None,
        keep_runs: int = 3,
        args: Mapping[str, Any] | None = None,
        **kwargs: Argument,
    ) -> Decorator:
        """Declares a static task. Needs ``schedule`` or ``interval``; all parameters are keywords.

        :param name: the task's name, under which it is stored; the function's name by default.
        :param schedule: a cron expression: five fields, or six with seconds last.
        :param interval: the time between two occurrences.
        :param timezone: the timezone of ``schedule``: an IANA name or a POSIX TZ rule; UTC by default.
        :param start_at: the earliest moment at which there may be an occurrence; an interval counts from it. It may be
            in the past.
        :param end_at: the latest moment for an occurrence, inclusive. Afterwards the task is completed.
        :param max_runs: how many occurrences are executed, whatever their outcome; then the task is completed.
        :param enabled: whether this app executes the task; True by default.
        :param fast_forward: whether only the earliest of missed occurrences is executed: :attr:`CatchUp.EARLIEST`;
            False by default.
        :param failure_mode: what happens when an execution raises; :attr:`FailureMode.NONE` by default.
        :param execution_mode: how often an occurrence may be executed when things go wrong;
            :attr:`ExecutionMode.AT_LEAST_ONCE` by default.
        :param lease_duration: how soon others execute an occurrence again after its worker has died; 60 seconds by
            default.
        :param heartbeat: whether the worker renews the lease of what it executes; True by default. ``'cancel'`` also
            cancels an execution that has lost its lease. With False, an execution that outlasts its lease is executed
            again by another worker.
        :param retry: when another attempt follows one that failed: a :class:`Retry`, or a function
            ``(attempt, error)`` that returns the time to wait, or None to give up; None by default, which leaves it to
            ``failure_mode``.
        :param on_exhausted: what happens to an instance whose run has failed: :attr:`OnExhausted.NEXT`, or
            :attr:`OnExhausted.HOLD`, which keeps it as dead. By default one-off instances are held and others continue.
        :param catch_up: which of several missed occurrences are executed; :attr:`CatchUp.ALL` by default.
        :param timeout: an attempt that takes longer is cancelled and has failed; None by default: never. A plain
            function can't be cancelled: it counts as timed out, but keeps its slot until it returns.
        :param max_lateness: an occurrence that could not start within this time after it came due is skipped; None by
            default: never.
        :param overlap: what happens to occurrences that come due while one is open; :attr:`Overlap.QUEUE` by default.
        :param jitter: delays each occurrence by a part of this, which is always the same for an instance and evenly
            spread over instances; None by default.
        :param concurrency: the maximum number of executions of this task at a time in one process; None by default:
            only the app's ``concurrency_limit`` applies.
        :param retain: how long to keep an instance that has no further occurrence; None by default: it is removed
            immediately.
        :param pause_after: the number of consecutive failed runs after which the instance is paused until it is
            resumed; None by default: never. At least once and without ``retry``, errors are retried forever, so only
            runs that raise :class:`GiveUp` count. Can't be combined with ``on_exhausted=OnExhausted.HOLD``.
        :param keep_runs: how many of its latest runs each instance keeps, up to 100; 3 by default.
        :param args: arguments with any name, including those of the parameters above.
        :param kwargs: any other keyword is an argument of the task, and must be JSON.
        :raises ValueError: immediately or when the function is decorated; says what to write instead.
        :raises TypeError: a keyword is misspelt or comes from another scheduler, or a value has the wrong type.
        """
        given = locals()  # all parameters by name, so that a new policy needs no further change
        _need_parentheses("task", *misplaced)
        if kwargs.get("execute_at") is not None:
            raise ValueError(
                "execute_at is for instances of dynamic tasks: declare the task with @app.dynamic_task() and "
                "schedule an instance, await context.schedule_task(task, 'name', execute_at=…)."
            )

        def make(name: str, func: TaskFunc, timing: Timing, settings: dict[str, Any]) -> Task:
            schedule, bounds = read_timing(timing, may_be_over=True)
            return Task(name, func, schedule=schedule, bounds=bounds, **settings)

        return self._declare(given, make)

    def dynamic_task(
        self,
        /,
        *misplaced: Never,
        name: str | None = None,
        schedule: str | None = None,
        interval: datetime.timedelta | None = None,
        execute_at: datetime.datetime | None = None,
        timezone: str | None = None,
        start_at: datetime.datetime | None = None,
        end_at: datetime.datetime | None = None,
        max_runs: int | None = None,
        enabled: bool = True,
        fast_forward: bool = False,
        failure_mode: FailureMode = FailureMode.NONE,
        execution_mode: ExecutionMode = ExecutionMode.AT_LEAST_ONCE,
        lease_duration: datetime.timedelta = datetime.timedelta(seconds=60),
        heartbeat: bool | Literal["cancel"] = True,
        retry: RetryPolicy | None = None,
        on_exhausted: OnExhausted | None = None,
        catch_up: CatchUp = CatchUp.ALL,
        timeout: datetime.timedelta | None = None,
        max_lateness: datetime.timedelta | None = None,
        overlap: Overlap = Overlap.QUEUE,
        jitter: datetime.timedelta | None = None,
        concurrency: int | None = None,
        retain: datetime.timedelta | None = None,
        pause_after: int | None = None,
        keep_runs: int = 3,
        args: Mapping[str, Any] | None = None,
        **kwargs: Argument,
    ) -> Decorator:
        """Declares a template; instances are scheduled at run time with :meth:`PyncetteContext.schedule_task`.

        Takes the parameters of :meth:`task`; schedule, timezone and arguments are defaults for the instances.

        :param execute_at: the moment at which the instances run, once.
        :raises ValueError: as :meth:`task`, or a name that ends in ``:``.
        :raises TypeError: as :meth:`task`.
        """
        given = locals()
        _need_parentheses("dynamic_task", *misplaced)

        def make(name: str, func: TaskFunc, timing: Timing, settings: dict[str, Any]) -> Task:
            _check_template_name(name)
            return Task(name, func, dynamic=True, **_template_schedule(timing), **settings)

        return self._declare(given, make)

    def partitioned_task(
        self,
        /,
        *misplaced: Never,
        partition_count: int,
        partition_selector: PartitionSelector = partition_of,
        enabled_partitions: Collection[int] | None = None,
        name: str | None = None,
        schedule: str | None = None,
        interval: datetime.timedelta | None = None,
        execute_at: datetime.datetime | None = None,
        timezone: str | None = None,
        start_at: datetime.datetime | None = None,
        end_at: datetime.datetime | None = None,
        max_runs: int | None = None,
        enabled: bool = True,
        fast_forward: bool = False,
        failure_mode: FailureMode = FailureMode.NONE,
        execution_mode: ExecutionMode = ExecutionMode.AT_LEAST_ONCE,
        lease_duration: datetime.timedelta = datetime.timedelta(seconds=60),
        heartbeat: bool | Literal["cancel"] = True,
        retry: RetryPolicy | None = None,
        on_exhausted: OnExhausted | None = None,
        catch_up: CatchUp = CatchUp.ALL,
        timeout: datetime.timedelta | None = None,
        max_lateness: datetime.timedelta | None = None,
        overlap: Overlap = Overlap.QUEUE,
        jitter: datetime.timedelta | None = None,
        concurrency: int | None = None,
        retain: datetime.timedelta | None = None,
        pause_after: int | None = None,
        keep_runs: int = 3,
        args: Mapping[str, Any] | None = None,
        **kwargs: Argument,
    ) -> PartitionedDecorator:
        """Declares a template whose instances are spread over ``partition_count`` queues.

        Takes the parameters of :meth:`dynamic_task` as well.

        :param partition_count: must not change as long as instances are stored.
        :param partition_selector: ``partition_selector(partition_count, name)`` is the partition of an instance, from
            0 on; by a hash of the name by default. Must not change as long as instances are stored.
        :param enabled_partitions: the partitions that this app executes; all by default.
        :raises ValueError: ``partition_count`` is less than 1, or as :meth:`dynamic_task`.
        :raises TypeError: as :meth:`task`.
        """
        given = locals()
        _need_parentheses("partitioned_task", *misplaced)

        def make(name: str, func: TaskFunc, timing: Timing, settings: dict[str, Any]) -> PartitionedTask:
            _check_template_name(name)
            return PartitionedTask(
                name,
                func,
                partition_count=partition_count,
                partition_selector=partition_selector,
                enabled_partitions=enabled_partitions,
                **_template_schedule(timing),
                **settings,
            )

        return self._declare(given, make)

    def _declare(
        self, given: Mapping[str, Any], make: Callable[[str, TaskFunc, Timing, dict[str, Any]], TaskT]
    ) -> Callable[[Any], Any]:
        args = declared_args(given["kwargs"], given["args"])
        policies = Policies(**{name: given[name] for name in POLICIES})
        policies.check()
        check_flag("enabled", given["enabled"])
        timing: Any = {name: given[name] for name in SCHEDULE_PARAMETERS if name in given}
        settings = {"policies": policies, "enabled": given["enabled"]}

        def decorate(func: TaskFunc | Task) -> TaskT:
            function: Any = func.task_func if isinstance(func, Task) else func
            check_no_generator("task", function)
            if not callable(function):
                check_function("task", function, "context")
            name = self._unused_name(given["name"], function)
            task = make(name, function, timing, {**settings, **_arguments(name, function, args)})
            if task.arguments is not None and not task.dynamic:
                task.arguments.check_complete(task.extra_args)
            self._warn_if_late("task", task.name)
            self._tasks.append(task)
            return task

        return decorate

    def _unused_name(self, name: object, function: object) -> str:
        chosen = getattr(function, "__name__", None) if name is None else name
        if chosen is None or chosen == "":
            raise ValueError("No name found for the task: give it one, name='…'.")
        checked = check_name(chosen)
        static_queue(escape(checked))  # the longest name derived from it, to check its length
        if any(task.name == checked for task in self._tasks):
            raise ValueError(f"There is a task called {checked!r} already: give this one another name, name='…'.")
        return checked


def _arguments(name: str, function: Any, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the function declares, and those of the declaration as JSON."""
    arguments = read_arguments(name, function)
    if arguments is None:
        encode_args(args)
        return {"args": args}
    return {"args": arguments.encode(args), "arguments": arguments}


def _need_parentheses(decorator: str, *arguments: object) -> None:
    """Refuse ``@app.task`` without parentheses, which passes the function as an argument."""
    if any(callable(argument) for argument in arguments):
        raise TypeError(f"Write @app.{decorator}(), with parentheses.")
    if arguments:
        raise TypeError(f"@app.{decorator}() takes keywords only: write schedule='…' or interval=….")


def _check_template_name(name: str) -> None:
    if name.endswith(":"):
        raise ValueError(f"The name of a dynamic task may not end in ':', as {name!r} does: choose another one.")


def _template_schedule(timing: Timing) -> dict[str, Any]:
    """Schedule, timezone and bounds of a template, which may leave each to its instances."""
    if any(timing.get(name) is not None for name in KINDS):
        schedule, bounds = read_timing(timing, may_be_over=True)  # if it has ended, its instances are refused
        return {"schedule": schedule, "bounds": bounds}
    timezone = timing.get("timezone")
    if timezone is not None:
        make_schedule(schedule="* * * * *", timezone=timezone)  # refuse an unknown timezone now
    return {"schedule": None, "timezone": timezone, "bounds": read_bounds(timing)}
