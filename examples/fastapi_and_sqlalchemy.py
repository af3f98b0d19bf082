# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette[typed]", "fastapi", "sqlalchemy[asyncio]>=2", "uvicorn"]
# ///
"""FastAPI and SQLAlchemy: an order and its reminder are stored in one transaction, or neither is.

uvicorn fastapi_and_sqlalchemy:web
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID, uuid4

import anyio
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pyncette import Context, Pyncette, PyncetteContext, from_fixture


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    customer: Mapped[str]
    cents: Mapped[int]
    reminders: Mapped[int] = mapped_column(default=0)


engine = create_async_engine("sqlite+aiosqlite:///shop.db")
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = Pyncette("sqlite:///shop.db")


@app.fixture()
async def database(app_context: PyncetteContext) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield sessions
    await engine.dispose()


@app.dynamic_task()
async def remind(
    context: Context,
    order_id: UUID,
    text: str = "Your order waits for payment.",
    *,
    database: async_sessionmaker[AsyncSession] = from_fixture(database),
) -> None:
    async with database.begin() as session:
        order = await session.get_one(Order, order_id)
        order.reminders += 1
        print(f"reminder: {order.customer}, {order.cents} cents: {text}")


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncIterator[dict[str, PyncetteContext]]:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        yield {"scheduler": context}
        context.shutdown()


def get_scheduler(request: Request) -> PyncetteContext:
    scheduler: PyncetteContext = request.state.scheduler
    return scheduler


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


Scheduler = Annotated[PyncetteContext, Depends(get_scheduler)]
Session = Annotated[AsyncSession, Depends(get_session)]
web = FastAPI(lifespan=lifespan)


class NewOrder(BaseModel):
    customer: str
    cents: int
    remind_after: timedelta = timedelta(days=1)


class StoredOrder(BaseModel):
    id: UUID
    customer: str
    cents: int
    reminders: int


@web.post("/orders", status_code=201)
async def create_order(new: NewOrder, session: Session, scheduler: Scheduler) -> StoredOrder:
    order = Order(id=uuid4(), customer=new.customer, cents=new.cents, reminders=0)
    session.add(order)
    at = datetime.now(UTC) + new.remind_after
    await scheduler.schedule_task(remind.with_args(order.id), str(order.id), execute_at=at, transaction=session)
    if new.cents <= 0:
        raise HTTPException(422, "An order costs something.")  # nothing is committed
    await session.commit()
    return _shown(order)


@web.delete("/orders/{order_id}", status_code=204)
async def cancel_order(order_id: UUID, session: Session, scheduler: Scheduler) -> None:
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(404)
    await session.delete(order)
    await scheduler.unschedule_task(remind, str(order_id), transaction=session)
    await session.commit()


@web.get("/reminders")
async def list_reminders(scheduler: Scheduler) -> list[str]:
    return [state.task.name for state in (await scheduler.list_tasks(remind)).tasks]


@web.get("/orders/{order_id}")
async def read_order(order_id: UUID, session: Session) -> StoredOrder:
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(404)
    return _shown(order)


def _shown(order: Order) -> StoredOrder:
    return StoredOrder(id=order.id, customer=order.customer, cents=order.cents, reminders=order.reminders)
