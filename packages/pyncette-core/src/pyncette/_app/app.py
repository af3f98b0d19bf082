"""The application object: declares tasks, fixtures and middlewares, and wires up what runs them."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Never, TypeVar

from pyncette._config.backends import Factory, choose
from pyncette._tasks.keywords import POLICY_PARAMETERS, SCHEDULE_PARAMETERS, split_kwargs
from pyncette._tasks.names import check_name, escape, join, partition_of
from pyncette._tasks.partition import PartitionedTask
from pyncette._tasks.policies import Policies
from pyncette._tasks.spec import encode_args
from pyncette._tasks.task import PartitionSelector, Task
from pyncette._validation.attributes import check_attribute_name
from pyncette._validation.checks import check_duration, check_function, check_no_generator
from pyncette.executor import DefaultExecutor
from pyncette.observer import Observer, Observers
from pyncette.options import bind
from pyncette.schedule import make_schedule

from . import console as entry
from .context import Context, FixtureFunc, MiddlewareFunc, TaskFunc
from .running import PyncetteContext

MiddlewareT = TypeVar("MiddlewareT", bound=MiddlewareFunc)
FixtureT = TypeVar("FixtureT", bound=FixtureFunc)

_PARAMETERS = ("name", *SCHEDULE_PARAMETERS, *POLICY_PARAMETERS)


class Pyncette:
    """A scheduler app.

    :param repository_factory: where tasks are stored: a function such as ``sqlite_repository``, or a URL such as
        ``"redis://localhost"``. By default in memory, and in SQLite if a ``sqlite_*`` option is given.
    :param executor_cls: how tasks are executed; see :mod:`pyncette.executor`.
    :param poll_interval: how long the loop sleeps at most before it asks the storage for what other processes have
        scheduled. What is due is executed when it is due, whatever the poll interval.
    :param options: options of the loop (:class:`pyncette.options.LoopOptions`), of the repository and of the executor.
    :raises TypeError: an option is unknown or missing; nothing is ignored.
    :raises ValueError: an option has an impossible value.
    """

    def __init__(
        self,
        repository_factory: Factory | str | None = None,
        executor_cls: Callable[..., Any] = DefaultExecutor,
        poll_interval: datetime.timedelta = datetime.timedelta(seconds=1),
        **options: Any,
    ) -> None:
        check_duration("poll_interval", poll_interval)
        self._factory, from_url = choose(repository_factory, options)
        self._options = bind(options, self._factory, executor_cls, from_url)
        self._executor_cls = executor_cls
        self._poll_interval = poll_interval
        self._tasks: list[Task] = []
        self._fixtures: dict[str, FixtureFunc] = {}
        self._middlewares: list[MiddlewareFunc] = []
        self._observers = Observers()

    def task(self, *misplaced: Never, **kwargs: Any) -> Callable[[TaskFunc | Task], Task]:
        """Declares a static task. Needs ``schedule`` or ``interval``; all parameters are keywords.

        :param name: the task's name, under which it is stored; the function's name by default.
        :param schedule: cron text: five fields, or six with seconds last.
        :param interval: the time between two occurrences, a ``timedelta``.
        :param timezone: of ``schedule``: an IANA name, or what ``dateutil.tz.gettz`` accepts; UTC by default.
        :param enabled: whether this app executes the task; True by default.
        :param fast_forward: whether occurrences that were missed are skipped; False by default.
        :param failure_mode: what happens when an execution raises; :attr:`FailureMode.NONE` by default.
        :param execution_mode: :attr:`ExecutionMode.AT_LEAST_ONCE` by default.
        :param lease_duration: how long an execution may take until another worker repeats it; 60 seconds by default.
        :param args: arguments of any name, a dictionary.
        :param kwargs: any other keyword is an argument of the task, and has to be JSON.
        :raises ValueError: at once or when the function is decorated; says what to write instead.
        :raises TypeError: a keyword is misspelt, or a value is of a wrong type.
        """
        _need_parentheses("task", *misplaced)

        def declare(name: str, func: TaskFunc, timing: dict[str, Any], settings: dict[str, Any]) -> Task:
            if timing.get("execute_at") is not None:
                raise ValueError(
                    "execute_at is for instances of dynamic tasks: declare the task with @app.dynamic_task() and "
                    "schedule an instance, await context.schedule_task(task, 'name', execute_at=…)."
                )
            return Task(name, func, schedule=make_schedule(**timing), **settings)

        return self._declare(kwargs, declare)

    def dynamic_task(self, *misplaced: Never, **kwargs: Any) -> Callable[[TaskFunc | Task], Task]:
        """Declares a template; instances are scheduled at run time with :meth:`PyncetteContext.schedule_task`.

        Takes the parameters of :meth:`task`; schedule, timezone and arguments are the defaults of the instances.

        :raises ValueError: as :meth:`task`, or a name that ends in ``:``.
        :raises TypeError: as :meth:`task`.
        """
        _need_parentheses("dynamic_task", *misplaced)

        def declare(name: str, func: TaskFunc, timing: dict[str, Any], settings: dict[str, Any]) -> Task:
            _check_template_name(name)
            return Task(name, func, dynamic=True, **_template_schedule(timing), **settings)

        return self._declare(kwargs, declare)

    def partitioned_task(
        self,
        *,
        partition_count: int,
        partition_selector: PartitionSelector = partition_of,
        enabled_partitions: Collection[int] | None = None,
        **kwargs: Any,
    ) -> Callable[[TaskFunc | Task], PartitionedTask]:
        """Declares a template whose instances are spread over ``partition_count`` queues.

        :param partition_count: must not change as long as instances are stored.
        :param partition_selector: ``partition_selector(partition_count, name)`` is the partition of an instance, from
            0 on; by a hash of the name by default. Must not change as long as instances are stored.
        :param enabled_partitions: the partitions that this app executes; all by default.
        :param kwargs: as of :meth:`dynamic_task`.
        :raises ValueError: ``partition_count`` is less than 1, or as :meth:`task`.
        :raises TypeError: as :meth:`task`.
        """

        def declare(name: str, func: TaskFunc, timing: dict[str, Any], settings: dict[str, Any]) -> PartitionedTask:
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

        return self._declare(kwargs, declare)

    def _declare(
        self,
        kwargs: Mapping[str, Any],
        make: Callable[[str, TaskFunc, dict[str, Any], dict[str, Any]], TaskT],
    ) -> Callable[[TaskFunc | Task], TaskT]:
        given, args = split_kwargs(dict(kwargs), _PARAMETERS)
        encode_args(args)
        policies = Policies(**{name: given[name] for name in Policies._fields if name in given})
        policies.check()
        timing = {name: given[name] for name in SCHEDULE_PARAMETERS if name in given}
        settings = {"args": args, "policies": policies, "enabled": bool(given.get("enabled", True))}

        def decorate(func: TaskFunc | Task) -> TaskT:
            function = func.task_func if isinstance(func, Task) else func
            check_function("task", function, "context")
            check_no_generator("task", function)
            task = make(self._free_name(given.get("name"), function), function, timing, settings)
            self._tasks.append(task)
            return task

        return decorate

    def _free_name(self, name: object, function: object) -> str:
        chosen = getattr(function, "__name__", None) if name is None else name
        if chosen is None or chosen == "":
            raise ValueError("No name for the task to be found: give it one, name='…'.")
        checked = check_name(chosen)
        join(escape(checked))
        if any(task.name == checked for task in self._tasks):
            raise ValueError(f"There is a task called {checked!r} already: give this one another name, name='…'.")
        return checked

    def use_fixture(self, fixture_name: str, func: FixtureFunc) -> None:
        """Adds a fixture: an async generator function that takes the app context and yields a value once.

        Fixtures are set up in the order in which they were added, before the first tick, and torn down in reverse
        after the last execution has ended. Each context has the value under ``fixture_name``.

        :raises ValueError: the name is reserved or taken.
        """
        check_attribute_name(fixture_name, "fixture")
        check_function("fixture", func, "app_context")
        if inspect.iscoroutinefunction(func) or inspect.isgeneratorfunction(func):
            raise TypeError(f"The fixture {fixture_name!r} must be an async generator: async def with one yield in it.")
        if fixture_name in self._fixtures:
            raise ValueError(f"There is a fixture called {fixture_name!r} already: choose another name.")
        self._fixtures[fixture_name] = func

    def fixture(self, name: str | None = None) -> Callable[[FixtureT], FixtureT]:
        """Decorator for :meth:`use_fixture`; the function's name is the default."""
        _need_parentheses("fixture", name)

        def decorate(func: FixtureT) -> FixtureT:
            self.use_fixture(str(name or getattr(func, "__name__", "")), func)
            return func

        return decorate

    def use_middleware(self, func: MiddlewareFunc) -> None:
        """Adds a middleware. They wrap each execution in the order in which they were added, the first outermost."""
        check_function("middleware", func, "context", "next")
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise TypeError(f"The middleware {func!r} must be a coroutine function: write await next(), not yield.")
        self._middlewares.append(func)

    def middleware(self, func: MiddlewareT) -> MiddlewareT:
        """Decorator for :meth:`use_middleware`."""
        self.use_middleware(func)
        return func

    def use_observer(self, observer: Observer) -> None:
        """Adds an observer, which is told what happens inside."""
        self._observers.add(observer)

    @asynccontextmanager
    async def create(self) -> AsyncIterator[PyncetteContext]:
        """Opens the storage and sets up the fixtures; ``run()`` of the context starts the loop.

        :raises RepositoryException: the storage can't be used; says why.
        """
        async with self._factory(**self._options.repository) as repository:
            context = PyncetteContext(
                repository,
                tasks=tuple(self._tasks),
                middlewares=tuple(self._middlewares),
                new_context=Context,
                observers=self._observers,
                options=self._options.loop,
                poll_interval=self._poll_interval,
                make_executor=lambda: self._executor_cls(**self._options.executor),
            )
            async with context.storing(), AsyncExitStack() as stack:
                for name, func in self._fixtures.items():
                    fixture = asynccontextmanager(func)(context)
                    context.add_to_context(name, await stack.enter_async_context(fixture))
                yield context

    def main(self, backend: str = "asyncio") -> None:
        """Runs the app as a program: logging, signals, until it is told to stop.

        The first SIGINT or SIGTERM shuts down gracefully, the second at once. The environment variable ``LOG_LEVEL``
        sets the level of logging (INFO), ``USE_UVLOOP=1`` chooses uvloop.

        :param backend: ``"asyncio"`` or ``"trio"``.
        """
        entry.main(self.create, backend)


TaskT = TypeVar("TaskT", bound=Task)


def _need_parentheses(decorator: str, *arguments: object) -> None:
    """``@app.task`` without parentheses passes the function as an argument."""
    if any(callable(argument) for argument in arguments):
        raise TypeError(f"Write @app.{decorator}(), with parentheses.")
    if any(argument is not None for argument in arguments) and decorator != "fixture":
        raise TypeError(f"@app.{decorator}() takes keywords only: write schedule='…' or interval=….")


def _check_template_name(name: str) -> None:
    if name.endswith(":"):
        raise ValueError(f"The name of a dynamic task may not end in ':', as {name!r} does: choose another one.")


def _template_schedule(timing: dict[str, Any]) -> dict[str, Any]:
    """Schedule and timezone of a template, which may leave either to its instances."""
    if any(timing.get(name) is not None for name in ("schedule", "interval", "execute_at")):
        return {"schedule": make_schedule(**timing)}
    if timing.get("timezone") is not None:
        make_schedule(schedule="* * * * *", timezone=timing["timezone"])  # an unknown zone is refused now, not later
    return {"schedule": None, "timezone": timing.get("timezone")}
