"""Values of every supported argument type arrive unchanged."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import uuid
import zoneinfo
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import anyio
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from pyncette import Context, Pyncette
from pyncette._tasks.arguments import Inconvertible
from pyncette._tasks.converting import Converter
from pyncette._tasks.spec import decode_args, encode_args
from pyncette.testing import ManualClock

START = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
LOCAL_MEAN_TIME = datetime.datetime(1890, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))  # 53 minutes, 28 seconds
FIRST, LAST = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC).replace(tzinfo=None) for year in (2, 9998))


class Colour(enum.Enum):
    RED = "red"
    SEVEN = 7


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    day: datetime.date


class Pair(NamedTuple):
    x: int
    label: str = ""


class Address(TypedDict):
    street: str
    since: NotRequired[datetime.date]


@dataclasses.dataclass
class Mail:
    kind: Literal["mail"]
    id: uuid.UUID


@dataclasses.dataclass
class Parcel:
    kind: Literal["parcel"]
    id: uuid.UUID
    weight: Decimal | None = None


class Account(pydantic.BaseModel):
    kind: Literal["account"] = "account"
    balance: Decimal = pydantic.Field(alias="current-balance")
    colours: list[Colour] = []
    open_for: datetime.timedelta


class Export(pydantic.BaseModel):
    user_id: int = pydantic.Field(alias="userId")
    columns: list[str] = []


Sent = Annotated[Mail | Parcel | Account, pydantic.Field(discriminator="kind")]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
minutes: st.SearchStrategy[datetime.tzinfo] = st.integers(-23 * 60, 23 * 60).map(
    lambda offset: datetime.timezone(datetime.timedelta(minutes=offset))
)
anywhere = st.datetimes(FIRST, LAST, timezones=st.one_of(st.none(), minutes))
in_zones = st.datetimes(datetime.datetime.fromisoformat("1980-01-01"), LAST, timezones=st.timezones())
moments = anywhere | in_zones
decimals = st.decimals(allow_nan=False, allow_infinity=False)
mails = st.builds(Mail, st.just("mail"), st.uuids())
parcels = st.builds(Parcel, st.just("parcel"), st.uuids(), st.none() | decimals)
accounts = st.builds(
    lambda balance, colours, open_for: Account(
        **{"current-balance": balance, "colours": colours, "open_for": open_for}
    ),
    decimals,
    st.lists(st.sampled_from(Colour), max_size=3),
    st.timedeltas(),
)
exports = st.builds(
    lambda user, columns: Export(userId=user, columns=columns), st.integers(), st.lists(texts, max_size=2)
)
pairs = st.builds(Pair, st.integers(), texts)
addresses: Any = st.fixed_dictionaries({"street": texts}, optional={"since": st.dates()})

TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (int, st.integers()),
    "float": (float, st.floats(allow_nan=False, allow_infinity=False)),
    "bool": (bool, st.booleans()),
    "str": (str, texts),
    "datetime": (datetime.datetime, moments),
    "date": (datetime.date, st.dates()),
    "time": (datetime.time, st.times()),
    "timedelta": (datetime.timedelta, st.timedeltas()),
    "UUID": (uuid.UUID, st.uuids()),
    "Decimal": (Decimal, decimals),
    "Enum": (Colour, st.sampled_from(Colour)),
    "IntEnum": (Level, st.sampled_from(Level)),
    "NamedTuple": (Point, st.builds(Point, st.integers(), st.dates())),
    "TypedDict": (Address, addresses),
    "dataclass": (Parcel, parcels),
    "pydantic model": (Account, accounts),
    "pydantic model that JSON has all values for": (Export, exports),
    "list of such models": (list[Export], st.lists(exports, max_size=2)),
    "union of a NamedTuple and such a model": (Pair | Export, pairs | exports),
    "NamedTuple that JSON has all values for": (Pair, pairs),
    "zone": (zoneinfo.ZoneInfo, st.timezones()),
    "Optional": (datetime.date | None, st.none() | st.dates()),
    "tagged union": (Sent, mails | parcels | accounts),
    "list of tagged unions": (list[Sent], st.lists(mails | parcels | accounts, max_size=3)),
    "dictionary of dates": (dict[str, datetime.date], st.dictionaries(texts, st.dates(), max_size=3)),
    "dictionary of lists": (
        dict[uuid.UUID, list[Point]],
        st.dictionaries(st.uuids(), st.lists(st.builds(Point, st.integers(), st.dates()), max_size=2), max_size=2),
    ),
    "tuple": (tuple[int, Decimal], st.tuples(st.integers(), decimals)),
    "set": (set[uuid.UUID], st.sets(st.uuids(), max_size=3)),
    "int or text": (int | str, st.integers() | texts),
}


def _same(back: Any, value: Any) -> bool:
    if not isinstance(value, datetime.datetime) or value.tzinfo is None:
        return bool(back == value)
    return back.tzinfo is not None and bool(back.astimezone(datetime.UTC) == value.astimezone(datetime.UTC))


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_each_value_is_restored(name: str, data: st.DataObject) -> None:
    kind, values = TYPES[name]
    value = data.draw(values)
    conversion = Converter().of_type(kind)
    encoded = conversion.encode(value)
    stored = encode_args({"value": encoded})
    back = conversion.decode(json.dumps(decode_args(stored)["value"]))
    assert _same(back, value)
    assert type(back) is type(value) or kind is float
    assert conversion.encode(encoded) == encoded, "what comes from another storage, or from a command line"


@pytest.mark.anyio
async def test_all_at_once_from_the_call_to_the_function() -> None:
    """Random values, stored in memory and executed."""
    seen: list[Any] = []
    clock = ManualClock(START)
    app = Pyncette(clock=clock)

    @app.dynamic_task()
    async def work(
        context: Context,
        at: datetime.datetime,
        colour: Colour,
        sent: dict[str, list[Sent]],
        address: Address,
        point: Point | None,
        open_for: datetime.timedelta,
        account: Account | None = None,
    ) -> None:
        seen.append((context.task.name, [at, colour, sent, address, point, open_for, account]))

    mail, parcel = Mail("mail", uuid.uuid4()), Parcel("parcel", uuid.uuid4(), Decimal("0.10"))
    fields: dict[str, Any] = {"current-balance": Decimal("-1E+5"), "open_for": datetime.timedelta(-1)}
    account = Account(**fields)
    given: dict[str, list[Any]] = {
        "one": [START, Colour.RED, {"a": [mail, parcel, account]}, {"street": ""}, None, datetime.timedelta.max, None],
        "two": [
            START.replace(tzinfo=None),
            Colour.SEVEN,
            {},
            {"street": "x", "since": START.date()},
            Point(1, datetime.date.max),
            datetime.timedelta.min,
            account,
        ],
    }
    async with app.create() as context, anyio.create_task_group() as group:
        for name, values in given.items():
            await context.schedule_task(work.with_args(*values), name, execute_at=START)
        group.start_soon(context.run)
        await clock.advance(datetime.timedelta(seconds=1))
        context.shutdown()
    assert dict(seen) == given


class Secret(pydantic.BaseModel):
    token: pydantic.SecretStr


class Same(pydantic.BaseModel):
    x: int


class AsWell(pydantic.BaseModel):
    x: int


class Partly(pydantic.BaseModel):
    x: int
    y: int = pydantic.Field(0, exclude=True)


class Unwilling(pydantic.BaseModel):
    x: int

    @pydantic.field_serializer("x")
    def refuse(self, x: int) -> int:
        raise RuntimeError("hidden")


@pytest.mark.parametrize(
    "kind, value, problem",
    [
        (Secret, Secret(token=pydantic.SecretStr("hidden")), "of type Secret and would not arrive as it was"),
        (Secret, {"token": "hidden"}, "of type dict and would not arrive as it was"),
        (pydantic.SecretStr, "hidden", "of type str and would not arrive as it was"),
        (Partly, {"x": 1, "y": 2}, "of type dict and would not arrive as it was"),
        (Same, {"x": 1, "y": START}, "it should be an instance of Same, not dict"),
        (Same | AsWell, AsWell(x=1), "of type AsWell and would not arrive as it was"),
        (Sequence[int], (1, 2), "of type tuple and would not arrive as it was"),
        (datetime.datetime, LOCAL_MEAN_TIME, "of type datetime and would not arrive as it was"),
        (object, START, "of type datetime and would not arrive as it was"),
        (str, "\ud800", "can't be read back"),
        (bytes, b"\xff", "of type bytes, and JSON can't hold what is in it"),
        (object, object(), "of type object, and JSON can't hold what is in it"),
        (Unwilling, Unwilling(x=1), "of type Unwilling, and JSON can't hold what is in it"),
        (Annotated[int, pydantic.Field(gt=0)], -1, "greater than 0"),
        (float, float("nan"), "would not arrive as it was"),
        (Decimal, Decimal("NaN"), "finite number"),
        (datetime.date, START, "it should be a valid date, not datetime"),
        (int, 1.0, "it should be a valid integer, not float"),
        (str, 1, "it should be a valid string, not int"),
        (bool, 1, "it should be a valid boolean, not int"),
        (Sent, {"kind": "letter"}, "Input tag 'letter' .* does not match any of the expected tags"),
    ],
)
def test_values_that_would_not_survive_are_refused(kind: Any, value: object, problem: str) -> None:
    with pytest.raises(Inconvertible, match=problem) as raised:
        Converter().of_type(kind).encode(value)
    assert "hidden" not in str(raised.value)


def test_a_wrong_field_of_a_dataclass_is_named() -> None:
    when: Any = START
    with pytest.raises(Inconvertible, match="can't be read back") as raised:
        Converter().of_type(list[Parcel]).encode([Parcel("parcel", uuid.uuid4(), when)])
    assert raised.value.path == (0, "weight")
