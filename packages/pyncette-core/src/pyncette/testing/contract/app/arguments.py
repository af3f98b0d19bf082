"""Arguments that task functions declare."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, NamedTuple

import pytest

from pyncette import Context, OnExhausted, Retry

from .bench import AppBase, Bench, duration, moment


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Price(NamedTuple):
    amount: decimal.Decimal
    since: datetime.date | None


@dataclasses.dataclass(frozen=True)
class Parcel:
    id: uuid.UUID
    size: Size
    prices: dict[str, list[Price]]


PARCEL = Parcel(
    uuid.UUID(int=2**128 - 1),
    Size.LARGE,
    {"\u00fc\0\U0001f600": [Price(decimal.Decimal("-1.10"), datetime.date(1, 1, 1)), Price(decimal.Decimal(0), None)]},
)
AT = datetime.datetime(2030, 1, 1, 12, 30, 0, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-3)))


class ArgumentContract(AppBase):
    async def test_arguments_that_are_declared(self, bench: Bench) -> None:
        """Arrive with the types that the function declares, for static tasks, instances and single runs; a mismatch is
        a failure of that execution alone.
        """
        pytest.importorskip("pydantic", reason="typed arguments need the extra `typed`")
        app = bench.app()
        seen: list[tuple[str, Any]] = []

        @app.task(interval=duration(10), args={"every": duration(0.000001)})
        async def static(context: Context, every: datetime.timedelta) -> None:
            seen.append((context.task.name, every))

        @app.partitioned_task(partition_count=3)
        async def send(context: Context, parcel: Parcel, at: datetime.datetime | None = None) -> None:
            seen.append((context.task.name, (parcel, at)))

        @app.dynamic_task(retry=Retry(max_attempts=1), on_exhausted=OnExhausted.HOLD)
        def load(context: Context, parcel: Parcel, /) -> None:
            seen.append((context.task.name, parcel))

        async with bench.running(app) as worker:
            context = worker.context
            await context.schedule_tasks(
                send, [(f"{n}", send.with_args(PARCEL), {"execute_at": moment(1)}) for n in range(5)]
            )
            await context.schedule_task(load.with_args(PARCEL), "model", execute_at=moment(100))
            await context.trigger_task(load, "model")
            instance = await context.schedule_task(load.with_args(PARCEL), "old", execute_at=moment(2))
            old = await bench.stored(instance)
            assert old is not None
            await bench.damage(instance, old.spec.replace('"size"', '"format"'))
            await bench.advance(5)
            assert sorted(seen) == [*((f"{n}", (PARCEL, None)) for n in range(5)), ("model", PARCEL)]
            state = await context.get_task(load, "old")
            assert state is not None
            assert state.state == "dead"
            seen.clear()
            await context.schedule_task(send.with_args(PARCEL, at=AT), "moment", execute_at=moment(6))
            await bench.advance(10)
        assert sorted(seen) == [("moment", (PARCEL, AT)), ("static", duration(0.000001))]
