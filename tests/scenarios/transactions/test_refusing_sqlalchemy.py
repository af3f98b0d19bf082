"""If SQLAlchemy itself refuses a transaction, the call fails with the same errors as otherwise."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pyncette.errors import RepositoryException, RepositoryUnavailableException
from tests.helpers.shops import Shop, hourly

OWN_CONNECTION = {
    "postgres": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
    "mysql": ("SELECT CONNECTION_ID()", "KILL {}"),
    "mariadb": ("SELECT CONNECTION_ID()", "KILL {}"),
}


@pytest.mark.anyio
async def test_a_statement_that_has_failed_before(shop: Shop) -> None:
    """Only in PostgreSQL does a failed statement abort the transaction."""
    app, work = hourly(shop)
    async with app.create() as context, shop.session() as session:
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT * FROM no_such_table"))
        if shop.kind == "postgres":
            with pytest.raises(RepositoryException, match="The transaction has failed before this call: roll it back"):
                await context.schedule_task(work, "a", transaction=session)
            await session.rollback()
        await context.schedule_task(work, "a", transaction=session)
        await session.commit()
        assert await context.get_task(work, "a") is not None


@pytest.mark.anyio
async def test_a_session_that_waits_to_be_rolled_back(shop: Shop) -> None:
    class Base(DeclarativeBase): ...

    class Order(Base):
        __tablename__ = shop.orders
        id: Mapped[str] = mapped_column(primary_key=True)
        paid: Mapped[int]

    app, work = hourly(shop)
    async with app.create() as context, shop.session() as session:
        session.add(Order(id="secret", paid=0))
        await session.flush()
        session.expunge_all()
        session.add(Order(id="secret", paid=0))
        with pytest.raises(IntegrityError):
            await session.flush()
        with pytest.raises(RepositoryException, match=r"SQLAlchemy refuses the connection .* Session.rollback\(\)"):
            await context.schedule_task(work, "a", transaction=session)
        await session.rollback()
        await context.schedule_task(work, "a", transaction=session)
        await session.rollback()
        assert await context.get_task(work, "a") is None


@pytest.mark.anyio
async def test_a_connection_that_was_lost(shop: Shop) -> None:
    if shop.kind not in OWN_CONNECTION:
        pytest.skip("a file has no connection that could be lost")
    whose, end = OWN_CONNECTION[shop.kind]
    app, work = hourly(shop)
    async with app.create() as context, shop.engine() as engine, engine.connect() as connection:
        number = (await connection.execute(text(whose))).scalar()
        async with engine.connect() as other:
            await other.execute(text(end.format(number)))
        with pytest.raises(RepositoryUnavailableException, match="The connection passed as transaction= was lost"):
            await context.schedule_task(work, "a", transaction=connection)
        with pytest.raises(RepositoryException, match=r"SQLAlchemy refuses the connection .* rollback\(\)"):
            await context.schedule_task(work, "a", transaction=connection)
        await connection.rollback()
        assert await context.get_task(work, "a") is None
