"""Task definitions: a function, its schedule and its policies. Everything is checked when it is declared."""

from __future__ import annotations

import copy
import datetime
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol

from pyncette._schedules.moments import to_datetime
from pyncette.record import Queue, Ref
from pyncette.schedule import Cron, Interval, Once, Schedule, upcoming_of

from . import names
from .arguments import Arguments
from .bound import BoundTask, P
from .existing import Scheduling
from .keywords import Argument, instance_args
from .policies import ExecutionMode, FailureMode, Policies
from .spec import UNBOUNDED, Bounds, Spec, decode_args, encode_args
from .timing import BOUNDS, KINDS, Timing, read_timing

_MICROSECOND = datetime.timedelta(microseconds=1)


class PartitionSelector(Protocol):
    """Chooses the partition of an instance; must always return the same one."""

    def __call__(self, partition_count: int, task_id: str, /) -> int: ...


class Task(Generic[P]):
    """A task: static, a template of dynamic instances, or one concrete instance.

    Tasks are made by the decorators of :class:`pyncette.Pyncette` and by :meth:`instantiate`.

    :ivar name: the name; for an instance, its name under the template.
    :ivar canonical_name: the name, unique among all tasks of an app: ``template:instance``, in a partition
        ``template:partition:instance``. A ``:`` in a name is doubled. This is also the key in the storage, where that
        of a static task starts with ``:static:``.
    :ivar task_func: the decorated function.
    :ivar parent_task: the template or partition of an instance, otherwise None.
    :ivar extra_args: the arguments.
    :ivar enabled: whether this app executes the task; can be changed until the loop runs.
    :ivar scheduling: what happened to an instance that :meth:`~pyncette.PyncetteContext.schedule_task` has returned.
    :ivar synchronous: whether the function is a plain one, which runs in a worker thread.
    :ivar arguments: the arguments that the function declares, None if it takes only the context.
    """

    def __init__(
        self,
        name: str,
        task_func: Callable[..., Any],
        *,
        schedule: Schedule | None,
        args: dict[str, Any],
        policies: Policies,
        dynamic: bool = False,
        enabled: bool = True,
        parent_task: Task | None = None,
        timezone: str | None = None,
        args_text: str | None = None,
        bounds: Bounds = UNBOUNDED,
        canonical_name: str | None = None,
        arguments: Arguments | None = None,
    ) -> None:
        self.name = name
        self.task_func = task_func
        self.arguments: Arguments | None = arguments if parent_task is None else parent_task.arguments
        self.synchronous: bool = (
            not inspect.iscoroutinefunction(task_func) if parent_task is None else parent_task.synchronous
        )
        self.extra_args = args
        self._args_text = args_text
        self.policies = policies
        self.dynamic = dynamic
        self.parent_task = parent_task
        self.canonical_name: str = self._canonical_name() if canonical_name is None else canonical_name
        self.enabled = enabled
        self._schedule = schedule
        self._bounds = bounds
        if parent_task is None:
            self._check_policies(schedule)
        # A template may set only a timezone, for instances that have their own cron expressions.
        self._timezone = schedule.timezone if isinstance(schedule, Cron) else timezone
        self.scheduling: Scheduling | None = None

    def _check_policies(self, schedule: Schedule | None) -> None:
        """:raises ValueError: a policy contradicts the schedule, or the kind of function."""
        policies = self.policies
        if self.synchronous and policies.cancels_overlapping:
            raise ValueError(
                f"{self.name!r} is a plain function and can't be cancelled: write async def, or overlap=Overlap.SKIP."
            )
        if isinstance(schedule, Interval) and policies.jitter_microseconds >= schedule.period:
            raise ValueError(
                f"jitter ({policies.jitter}) must be shorter than the interval ({schedule.period * _MICROSECOND})."
            )

    def _canonical_name(self) -> str:
        own = names.escape(self.name)
        return own if self.parent_task is None else names.join(self.parent_task.canonical_name, own)

    @property
    def schedule(self) -> str | None:
        """The cron expression, None if there is none."""
        return self._schedule.text if isinstance(self._schedule, Cron) else None

    @property
    def interval(self) -> datetime.timedelta | None:
        """The time between occurrences, None if the task has another kind of schedule."""
        return self._schedule.period * _MICROSECOND if isinstance(self._schedule, Interval) else None

    @property
    def execute_at(self) -> datetime.datetime | None:
        """The occurrence of a one-off instance, None for other tasks."""
        return to_datetime(self._schedule.at) if isinstance(self._schedule, Once) else None

    @property
    def start_at(self) -> datetime.datetime | None:
        """The earliest moment at which there may be an occurrence, None without such a bound."""
        return None if self._bounds.start_at is None else to_datetime(self._bounds.start_at)

    @property
    def end_at(self) -> datetime.datetime | None:
        """The latest moment at which there may be an occurrence, None without such a bound."""
        return None if self._bounds.end_at is None else to_datetime(self._bounds.end_at)

    @property
    def max_runs(self) -> int | None:
        """The maximum number of occurrences that are executed, None without such a bound."""
        return self._bounds.max_runs

    @property
    def timezone(self) -> str | None:
        """The timezone as it was given, None if it was not."""
        return self._timezone

    @property
    def fast_forward(self) -> bool:
        """Whether only the earliest of missed occurrences is executed."""
        return self.policies.fast_forward

    @property
    def failure_mode(self) -> FailureMode:
        """What happens when an execution raises."""
        return self.policies.failure_mode

    @property
    def execution_mode(self) -> ExecutionMode:
        """At least once or at most once."""
        return self.policies.execution_mode

    @property
    def lease_duration(self) -> datetime.timedelta:
        """How long an execution may take until another worker repeats it."""
        return self.policies.lease_duration

    @property
    def tz(self) -> datetime.tzinfo:
        """The timezone in which occurrences are shown."""
        return datetime.UTC if self._schedule is None else self._schedule.tz

    @property
    def kind(self) -> names.Kind:
        """What the task, or the template of the instance, is declared as."""
        template = self.template
        if template is not self:
            return template.kind
        return "dynamic" if self.dynamic else "static"

    @functools.cached_property
    def queue(self) -> Queue:
        """The queue that contains the records of this static task, template or partition."""
        name = self.canonical_name
        return Queue(name) if self.dynamic else Queue(names.static_queue(name), static=True)

    @property
    def queues(self) -> Sequence[Task]:
        """The tasks that have their own queue: the partitions of a partitioned task, otherwise the task itself."""
        return (self,)

    @property
    def ref(self) -> Ref:
        """The location of this static task's or instance's record."""
        if self.dynamic:
            raise ValueError(f"{self.name!r} is a template of instances: name one of them as well.")
        if self.parent_task is None:
            return Ref(self.queue.name, self.queue.name)
        return Ref(self.parent_task.canonical_name, self.canonical_name)

    @property
    def template(self) -> Task:
        """What was declared: the task itself, or the template of an instance or of a partition."""
        return self if self.parent_task is None else self.parent_task.template

    def new_spec(self) -> Spec:
        """The spec to store for this static task or instance."""
        if self._schedule is None:
            raise ValueError(f"{self.name!r} has no schedule.")
        # A static task's arguments are not stored: those in the running code apply.
        args = "{}" if self.parent_task is None else self.args_text
        return Spec(self._schedule, args, bounds=self._bounds)

    @property
    def args_text(self) -> str:
        """The arguments as JSON."""
        if self._args_text is None:
            self._args_text = encode_args(self.extra_args)
        return self._args_text

    def instantiate(
        self,
        name: str,
        /,
        *,
        schedule: str | None = None,
        interval: datetime.timedelta | None = None,
        execute_at: datetime.datetime | None = None,
        timezone: str | None = None,
        start_at: datetime.datetime | None = None,
        end_at: datetime.datetime | None = None,
        max_runs: int | None = None,
        args: Mapping[str, Any] | None = None,
        **kwargs: Argument,
    ) -> Task:
        """A concrete instance of this template, as :meth:`~pyncette.PyncetteContext.schedule_task` stores it.

        :param name: its name, unique under the template.
        :param schedule: a cron expression. By default, the template's schedule of any of the three kinds applies.
        :param interval: the time between two occurrences.
        :param execute_at: the only occurrence. A naive one is local time.
        :param timezone: the timezone of ``schedule``; the template's by default.
        :param start_at: the earliest moment for an occurrence; an interval counts from it. It may be in the past.
        :param end_at: the latest moment, inclusive.
        :param max_runs: how many occurrences are executed, whatever their outcome.
        :param args: arguments with any name.
        :param kwargs: further arguments; the template supplies defaults.
        :raises ValueError: the task is not a template, or schedule or arguments are not valid.
        :raises TypeError: a policy is given, or a keyword is misspelt.
        """
        parent = self.parent_of(names.check_name(name, "task instance"))
        own = self.encoded_args(kwargs, args)
        timing = Timing(
            schedule=schedule,
            interval=interval,
            execute_at=execute_at,
            timezone=timezone,
            start_at=start_at,
            end_at=end_at,
            max_runs=max_runs,
        )
        merged = {**self.extra_args, **own}
        if self.arguments is not None:
            self.arguments.check_complete(merged)
        own_schedule, bounds = read_timing(self._with_defaults(timing))
        self._check_policies(own_schedule)
        return parent.restore(name, own_schedule, merged, encode_args(merged), bounds)

    def encoded_args(self, kwargs: Mapping[str, object], args: Mapping[str, Any] | None) -> dict[str, Any]:
        """The arguments of an instance or a run, as JSON values if they are typed. Some may be missing.

        :raises TypeError: one is unknown, misspelt or of another type than it is declared with.
        """
        if self.arguments is None:
            return instance_args(kwargs, args)
        return self.arguments.encode(instance_args(kwargs, args, self.arguments.names or frozenset()))

    def with_args(self, /, *args: P.args, **kwargs: P.kwargs) -> BoundTask[P]:
        """This task with the arguments that its function declares, to be scheduled or triggered.

        ``await context.schedule_task(report.with_args(user_id=5), "ada")``. Type checkers and editors know the
        arguments from the function's signature. They are checked at run time by the call that takes the result.
        """
        return BoundTask(self, args, kwargs)

    def parent_of(self, name: str) -> Task:
        """The task under which the instance ``name`` is stored: this template, or the instance's partition."""
        if not self.dynamic:
            raise ValueError(
                f"{self.name!r} is not a dynamic task and has no instances: declare it with @app.dynamic_task()."
            )
        return self

    def restore(
        self,
        name: str,
        schedule: Schedule | None,
        args: dict[str, Any],
        args_text: str | None = None,
        bounds: Bounds = UNBOUNDED,
    ) -> Task:
        """An instance of this template from checked values; ``args_text`` is ``args`` as JSON, if known."""
        return Task(
            name,
            self.task_func,
            schedule=schedule,
            args=args,
            policies=self.policies,
            parent_task=self,
            args_text=args_text,
            bounds=bounds,
        )

    def stored(self, canonical_name: str, spec: Spec, args: dict[str, Any]) -> Task:
        """The instance of this template that is stored under ``canonical_name``."""
        return Task(
            self.name_in(canonical_name),
            self.task_func,
            schedule=spec.schedule,
            args=args,
            policies=self.policies,
            parent_task=self,
            bounds=spec.bounds,
            canonical_name=canonical_name,
        )

    def as_stored(self, schedule: Schedule, bounds: Bounds) -> Task:
        """This static task with the schedule that is stored. During a deploy, the declared one may differ; without the
        task's code, there is none."""
        if (schedule, bounds) == (self._schedule, self._bounds):
            return self
        other = copy.copy(self)
        timezone = schedule.timezone if isinstance(schedule, Cron) else None
        vars(other).update(_schedule=schedule, _bounds=bounds, _timezone=timezone)
        return other

    def name_in(self, canonical_name: str) -> str:
        """The name of the instance of this template or partition that is stored under ``canonical_name``."""
        return canonical_name[len(self.canonical_name) + 1 :].replace("::", ":")

    def fresh_args(self) -> dict[str, Any]:
        """A copy of the arguments, as they would arrive from the storage."""
        return decode_args(self.args_text) if self.extra_args else {}

    def _with_defaults(self, timing: Timing) -> Timing:
        """The timing of an instance, with the template's defaults."""
        if all(timing.get(kind) is None for kind in KINDS):
            timing = {**timing, "schedule": self.schedule, "interval": self.interval, "execute_at": self.execute_at}
        if timing.get("execute_at") is None and all(timing.get(name) is None for name in BOUNDS):
            timing = {**timing, "start_at": self.start_at, "end_at": self.end_at, "max_runs": self.max_runs}
        if timing.get("schedule") is not None and timing.get("timezone") is None:
            timing = {**timing, "timezone": self._timezone}
        return timing

    def upcoming(self, after: datetime.datetime | None = None) -> Iterator[datetime.datetime]:
        """The occurrences after ``after`` (default: now), as an endless lazy iterator, in the task's timezone.

        For previews and tests: it shows the schedule, not what is stored.

        :raises ValueError: the task is a template without a schedule.
        """
        if self._schedule is None:
            raise ValueError(f"{self.name!r} has no schedule itself; ask one of its instances.")
        return upcoming_of(self._schedule, after)

    async def __call__(self, context: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function as it is, without lease, fixtures, middlewares or checks of its arguments."""
        result = self.task_func(context, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def __str__(self) -> str:
        return names.shown(self.canonical_name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.canonical_name!r}>"


def check_task(task: object) -> None:
    """:raises TypeError: ``task`` is not a task."""
    if isinstance(task, BoundTask):
        raise TypeError(f"This call takes no arguments of {task.task.name!r}: pass the task without with_args().")
    if not isinstance(task, Task):
        raise TypeError(f"Pass the task, which is what @app.dynamic_task() or @app.task() returned, not {task!r}.")
