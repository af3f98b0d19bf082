# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette[typed]"]
# ///
"""Tasks that declare their arguments: checked when they are scheduled, and converted on the way"""

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID, uuid4

import anyio

from pyncette import Context, Pyncette, PyncetteContext, from_fixture


class Channel(Enum):
    MAIL = "mail"
    TEXT = "text"


@dataclasses.dataclass
class Invoice:
    number: UUID
    total: Decimal
    due: date


class Outbox:
    def __init__(self) -> None:
        self.sent = 0

    def send(self, channel: Channel, text: str) -> None:
        self.sent += 1
        print(f"{channel.name}: {text}")


app = Pyncette()


@app.fixture()
async def outbox(app_context: PyncetteContext) -> AsyncIterator[Outbox]:
    opened = Outbox()
    yield opened
    print(f"{opened.sent} messages were sent")


@app.dynamic_task()
async def remind(
    context: Context,
    invoice: Invoice,
    channel: Channel = Channel.MAIL,
    *,
    outbox: Outbox = from_fixture(outbox),
) -> None:
    outbox.send(channel, f"{invoice.total} EUR are due by {invoice.due}")
    if outbox.sent == 4:
        context.app_context.shutdown()


async def main() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    invoice = Invoice(uuid4(), Decimal("99.90"), date(2030, 5, 1))
    async with app.create() as context:
        await context.schedule_task(remind.with_args(invoice), "one", execute_at=soon)
        many = (
            (str(number), remind.with_args(invoice, channel=Channel.TEXT), {"execute_at": soon}) for number in range(3)
        )
        print((await context.schedule_tasks(remind, many)).done, "more are scheduled")
        try:  # type checkers find this one as well
            await context.schedule_task(remind.with_args(invoice, chanel=Channel.TEXT), "two")  # type: ignore[call-arg]  # a mistake
        except TypeError as e:
            print("refused:", e)
        await context.run()


if __name__ == "__main__":
    anyio.run(main)
