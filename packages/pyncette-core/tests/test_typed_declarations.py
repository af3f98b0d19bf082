"""Typed arguments: what may be declared, and what is refused immediately."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import subprocess
import sys
import zoneinfo
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from pyncette import Context, PartitionedTask, Pyncette, PyncetteContext, Task, from_fixture

if TYPE_CHECKING:
    from decimal import Decimal

MINUTE = datetime.timedelta(minutes=1)


class Session:
    """A type that JSON can't represent."""


@dataclasses.dataclass
class Order:
    number: int
    comment: str = ""


class Loose(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    number: int


async def opened(app_context: PyncetteContext) -> AsyncIterator[Session]:
    yield Session()


def any_number(context: Context, user_id: int, *rest: int) -> None: ...
def any_name(context: Context, user_id: int, **rest: int) -> None: ...
def no_type(context: Context, user_id) -> None: ...  # type: ignore[no-untyped-def]  # the mistake under test
def no_type_beside(context: Context, user_id: int, more) -> None: ...  # type: ignore[no-untyped-def]  # as well
def not_json(context: Context, session: Session) -> None: ...
def not_json_inside(context: Context, sessions: list[Session]) -> None: ...
def no_context(user_id: int) -> None: ...
def no_context_but_a_list(names: list[str], user_id: int) -> None: ...
def context_last(user_id: int, context: Context) -> None: ...
def two_contexts(context: Context, other: Context) -> None: ...
def for_checkers(context: Context, total: Decimal) -> None: ...
def wrong_default(context: Context, user_id: int = "5") -> None: ...  # type: ignore[assignment]  # the mistake under test
def none_by_default(context: Context, user_id: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013
def model_and_more(context: Context, order: Order, /, user_id: int) -> None: ...
def two_models(context: Context, order: Order, other: Order, /) -> None: ...
def no_model(context: Context, number: int, /) -> None: ...
def fixture_by_position(context: Context, session: Session = from_fixture(opened), /) -> None: ...


MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (any_number, r"The parameter \*rest: .* stands for any number of arguments: name each one, with its type"),
    (any_name, r"The parameter \*\*rest: .* stands for any number of arguments: name each one, with its type"),
    (no_type, "The argument 'user_id' of the task 'no_type' has no type: write user_id: int"),
    (no_type_beside, "The argument 'more' of the task 'no_type_beside' has no type: write more: int"),
    (not_json, "The argument 'session' .* can't be stored as JSON: .*Session.* write session: … = from_fixture()"),
    (not_json, r"Unable to generate .*Session'>\. If it is a fixture"),  # without pydantic's advice
    (
        no_context,
        r"task 'no_context' is user_id: int: write def …\(context: Context, user_id: int\)",
    ),
    (no_context_but_a_list, r"the first parameter of the task 'no_context_but_a_list' is names: "),
    (context_last, "takes its context first, but the first parameter of the task 'context_last' is user_id"),
    (two_contexts, "The context comes first and alone, but the task 'two_contexts' has another parameter, 'other'"),
    (not_json_inside, "The argument 'sessions' .* can't be stored as JSON: .*Session"),
    (for_checkers, "The type of the argument 'total' .* can't be found .*'Decimal'.* not within 'if TYPE_CHECKING:'"),
    (wrong_default, "The default of the argument 'user_id' .* it should be a valid integer, not str"),
    (none_by_default, "The default of the argument 'user_id' .* it should be a valid integer, not NoneType"),
    (
        model_and_more,
        "has 'order' before the '/', as a model of all arguments, and others besides it: leave the '/' out",
    ),
    (two_models, "has 'order' before the '/', as a model of all arguments, and others besides it"),
    (no_model, "The argument 'number' .* stands before the '/' .* which must be a class with fields.*: leave the '/'"),
    (fixture_by_position, "The fixture 'session' of the task 'fixture_by_position' must come after the '/'"),
]


@pytest.mark.parametrize("function, message", MISTAKES, ids=lambda value: getattr(value, "__name__", ""))
def test_invalid_functions(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Pyncette().dynamic_task()(function)


async def report(context: Context, user_id: int, since: datetime.date | None = None) -> None: ...
async def of_order(context: Context, order: Order, /) -> None: ...
async def of_loose(context: Context, loose: Loose, /) -> None: ...


@pytest.mark.parametrize(
    "function, args, message",
    [
        (report, {}, "The task 'report' needs the argument 'user_id', which has no default"),
        (report, {"user_id": "5"}, "The argument user_id of 'report': it should be a valid integer, not str"),
        (report, {"user_id": 5, "sinc": None}, "The task 'report' has no argument 'sinc': did you mean 'since'?"),
        (report, {"user_id": 5, "zone": "UTC"}, "has no argument 'zone': it declares since, user_id"),
        (of_order, {}, "The argument number of 'of_order': it is missing"),
        (of_order, {"number": 5, "coment": "x"}, "has no argument 'coment': did you mean 'comment'?"),
        (of_order, {"number": "5"}, "The argument number of 'of_order': it should be a valid integer, not str"),
    ],
)
def test_arguments_of_static_tasks_are_checked(function: Any, args: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Pyncette().task(interval=MINUTE, args=args)(function)


def test_the_fields_of_a_model_are_not_passed_one_by_one() -> None:
    task: Any = Pyncette().dynamic_task()(of_order)
    with pytest.raises(TypeError, match="takes all its arguments as one model: pass order itself, not its fields"):
        task.with_args(number=5).named_args()


def test_arguments_of_static_tasks() -> None:
    app = Pyncette()
    day = datetime.date(2030, 1, 31)
    task = app.task(interval=MINUTE, args={"user_id": 5, "since": day})(report)
    assert task.extra_args == {"user_id": 5, "since": "2030-01-31"}
    assert app.task(name="order", interval=MINUTE, number=5)(of_order).extra_args == {"number": 5}
    assert app.task(name="loose", interval=MINUTE, number=5, more=[1])(of_loose).extra_args == {
        "number": 5,
        "more": [1],
    }


def test_defaults_of_templates_are_checked() -> None:
    app = Pyncette()
    with pytest.raises(TypeError, match="The argument user_id of 'report': it should be a valid integer"):
        app.dynamic_task(user_id="x")(report)
    with pytest.raises(TypeError, match="has no argument 'user': it declares since, user_id"):
        app.partitioned_task(partition_count=2, user=5)(report)
    template = app.dynamic_task(user_id=5)(report)
    assert template.instantiate("a", interval=MINUTE).extra_args == {"user_id": 5}
    assert template.instantiate("a", interval=MINUTE, user_id=6).extra_args == {"user_id": 6}


def _keeps(context: Context, i=1) -> None: ...  # type: ignore[no-untyped-def]  # as functions made in a loop do
def _second(number: int, context: Context) -> None: ...


def _with_client(context: Context, client: list[int]) -> None: ...


def test_untyped_functions_stay_untyped() -> None:
    """Functions that take only the context, or that keep values in defaults or in a partial."""

    def anything(*args: Any, **kwargs: Any) -> None: ...

    app = Pyncette()
    tasks: list[Task] = [
        app.dynamic_task(name="kept")(_keeps),
        app.dynamic_task(name="bound")(functools.partial(_second, 1)),
        app.dynamic_task(name="bound by keyword")(functools.partial(_with_client, client=[1])),
        app.dynamic_task(name="anything")(anything),
        app.dynamic_task(name="class")(type("Callable", (), {"__call__": lambda self, context: None})()),
    ]
    for task in tasks:
        assert task.arguments is None
        assert task.instantiate("a", interval=MINUTE, anything=[1]).extra_args == {"anything": [1]}


def test_methods_partials_and_wrapped_functions_are_read() -> None:
    class Service:
        async def method(self, context: Context, user_id: int) -> None: ...

        async def __call__(self, context: Context, user_id: int) -> None: ...

    @functools.wraps(report)
    async def wrapped(*args: Any, **kwargs: Any) -> None: ...

    app = Pyncette()
    functions: tuple[Any, ...] = (Service().method, Service(), wrapped, functools.partial(report, since=None))
    for number, function in enumerate(functions):
        task: Task = app.dynamic_task(name=str(number))(function)
        assert task.arguments is not None
        with pytest.raises(TypeError, match="argument user_id of"):
            task.instantiate("a", interval=MINUTE, user_id="x")


@pytest.mark.parametrize("declare", ["dynamic_task", "partitioned_task"])
def test_arguments_may_have_any_name(declare: str) -> None:
    """The names of policies, other schedulers' words and parameters of calls are not reserved."""

    async def odd(context: Context, timeout: int, tz: str, schedule: str, name: str, self: int, args: int) -> None: ...

    options = {} if declare == "dynamic_task" else {"partition_count": 2}
    template: Task = getattr(Pyncette(), declare)(**options)(odd)
    bound = template.with_args(timeout=1, tz="UTC", schedule="x", name="y", self=2, args=3)
    instance = template.instantiate("a", interval=MINUTE, args=bound.named_args())
    assert instance.extra_args == {"timeout": 1, "tz": "UTC", "schedule": "x", "name": "y", "self": 2, "args": 3}
    assert template.instantiate(
        "a", interval=MINUTE, timeout=1, tz="x", args={"schedule": "", "name": "", "self": 1, "args": 1}
    )


async def test_fixtures_are_found_when_the_app_is_opened() -> None:
    app = Pyncette()

    @app.dynamic_task()
    async def one(context: Context, session: Session = from_fixture()) -> None: ...

    with pytest.raises(
        ValueError, match=r"The parameter 'session' of 'one': the app has no fixture 'session' \(it has none"
    ):
        app.create()
    app.use_fixture("session", opened)
    app.create()

    @app.dynamic_task()
    async def two(
        context: Context, session: Session = from_fixture(opened), other: Any = from_fixture("opened")
    ) -> None: ...

    with pytest.raises(ValueError, match=r"'other' of 'two': the app has no fixture 'opened' \(it has 'session'\)"):
        app.create()


def test_a_function_that_is_not_a_fixture() -> None:
    app = Pyncette()

    @app.dynamic_task()
    async def task(context: Context, session: Session = from_fixture(opened)) -> None: ...

    with pytest.raises(ValueError, match=r"'session' of 'task': opened is not a fixture of the app: decorate it"):
        app.create()
    with pytest.raises(TypeError, match="takes a fixture's function or name, not 5"):
        from_fixture(5)  # type: ignore[call-overload]  # the mistake under test


def test_an_argument_with_the_name_of_a_fixture() -> None:
    app = Pyncette()
    app.dynamic_task()(report)
    app.use_fixture("user_id", opened)
    with pytest.raises(
        ValueError, match=r"The argument 'user_id' of 'report' has the name of a fixture: write user_id: "
    ):
        app.create()


def test_a_bound_task_shows_no_values() -> None:
    task = Pyncette().partitioned_task(partition_count=2)(report)
    assert isinstance(task, PartitionedTask)
    assert repr(task.with_args(user_id=5)) == "<BoundTask of 'report'>"


ONLY_FOR_CHECKERS = """
from typing import TYPE_CHECKING
from pyncette import Pyncette
if TYPE_CHECKING:
    from pyncette import Context, PyncetteContext
    from pyncette.events import AttemptStarted
from pyncette.observer import Observer

app = Pyncette()

class Told(Observer):
    def attempt_started(self, event: AttemptStarted) -> None: ...

app.use_observer(Told())

@app.dynamic_task()
async def untyped(context: Context) -> None: ...

@app.dynamic_task()
async def typed(context: Context, user_id: int) -> Context: ...

@app.fixture()
async def fixture(app_context: PyncetteContext):
    yield 1
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="Python evaluates annotations where they are written until 3.13")
def test_annotations_that_are_for_type_checkers_only() -> None:
    exec(compile(ONLY_FOR_CHECKERS, "page", "exec", dont_inherit=True), {"__name__": "page"})  # noqa: S102 - our own


WITHOUT = """
import sys
sys.modules["pydantic"] = None
from pyncette import Context, Pyncette, from_fixture
app = Pyncette()

@app.dynamic_task()
async def untyped(context: Context) -> None: ...

@app.dynamic_task()
async def only_fixtures(context: Context, session: object = from_fixture()) -> None: ...

try:
    @app.dynamic_task()
    async def typed(context: Context, user_id: int) -> None: ...
except TypeError as e:
    print(e)
"""


def test_without_the_library() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False, timeout=60)
    assert run.stderr == ""
    assert run.stdout.startswith("The task 'typed' declares the argument 'user_id', and typed arguments need pydantic:")
    assert "install pyncette[typed] or pyncette-core[typed]" in run.stdout


class Node(pydantic.BaseModel):
    """Its schema refers to itself."""

    name: str
    inner: Node | None = None


class Pair(pydantic.BaseModel):
    low: int
    high: int

    @pydantic.model_validator(mode="after")
    def ordered(self) -> Pair:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


@dataclasses.dataclass(eq=False)
class Uncompared:
    moments: list[datetime.datetime]


def with_node(context: Context, node: Node, /) -> None: ...
def with_pair(context: Context, pair: Pair, /) -> None: ...
def with_uncompared(context: Context, one: Uncompared) -> None: ...


def test_a_model_that_refers_to_itself() -> None:
    task = Pyncette().dynamic_task(name="node")(with_node)
    assert task.with_args(Node(name="a", inner=Node(name="b"))).named_args() == {
        "name": "a",
        "inner": {"name": "b", "inner": None},
    }
    assert task.with_args().named_args() == {}, "there may be none yet"  # type: ignore[call-arg]  # no order


def test_an_invalid_model_is_refused() -> None:
    task = Pyncette().dynamic_task(name="node")(with_node)
    with pytest.raises(TypeError, match="The argument node of 'node'"):
        task.with_args(5).named_args()  # type: ignore[arg-type]  # the mistake under test


def test_errors_of_all_arguments_together() -> None:
    task = Pyncette().dynamic_task(name="pair")(with_pair)
    assert task.arguments is not None
    with pytest.raises(TypeError, match=r"The arguments of 'pair': .*low is above high"):
        task.arguments.check_complete({"low": 2, "high": 1})


def test_objects_that_can_not_be_compared_are_compared_by_fields() -> None:
    moment = datetime.datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1)
    task = Pyncette().dynamic_task(name="uncompared")(with_uncompared)
    assert task.arguments is not None
    stored = task.arguments.encode({"one": Uncompared([moment])})
    assert stored == {"one": {"moments": [moment.isoformat()]}}
