"""Records that the server refuses. The connection and other records are not affected."""

from __future__ import annotations

import anyio
import pytest

from pyncette.errors import RecordRefusedException, RepositoryException
from pyncette.record import Change, Swap
from tests.helpers.mysql import TASK, Store, claim, insert, record
from tests.servers.model import Server
from tests.servers.plugin import StartServer


async def test_errors_of_the_server_cost_no_connection(store: Store) -> None:
    """After an error the transaction is rolled back, and the connection is reused."""
    one = record("one")
    async with store.open(mysql_pool_size=1, **await store.own_user()) as repository:
        await insert(repository, [one])
        ids = await store.own_connections()
        with pytest.raises(RecordRefusedException, match="too long"):
            await repository.swap([Change(None, record("other")), Change(one, record("one", locked_by="x" * 300))])
        assert await store.transactions() == 0
        assert await repository.scan(TASK, after=None, limit=9) == [one]
        assert await store.own_connections() == ids
        await store.ask(f"RENAME TABLE {store.table} TO {store.table}_away")
        with pytest.raises(RepositoryException, match="doesn't exist") as caught:
            await claim(repository)
        assert type(caught.value) is RepositoryException
        await store.ask(f"RENAME TABLE {store.table}_away TO {store.table}")
        assert len(await claim(repository)) == 1
        assert await store.own_connections() == ids


async def test_lone_surrogates_are_refused(store: Store) -> None:
    """They can't be encoded as UTF-8. The application's JSON never contains any."""
    async with store.open() as repository:
        with pytest.raises(RecordRefusedException, match="surrogates"):
            await repository.swap([Change(None, record("one", spec='"\ud800"'))])
        await insert(repository, [record("one")])


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
async def test_the_largest_spec(start_server: StartServer, kind: str) -> None:
    """The error names the limit: that much is accepted, one byte more is refused, and other records are unaffected."""
    with start_server(kind, "--max-allowed-packet=2M") as server:
        async with Store(server).open() as repository:
            with pytest.raises(RecordRefusedException, match="max_allowed_packet is 2097152") as caught:
                await repository.swap([Change(None, record("large", spec="x" * 2**22))])
            most = int(str(caught.value).partition("at most ")[2].split()[0])
            assert 1_000_000 < most < 2**20
            largest = record("large", spec="\u00fc" * (most // 2) + "x" * (most % 2))
            with pytest.raises(RecordRefusedException, match=f"take {most + 1} bytes"):
                await repository.swap([Change(None, record("large", spec=largest.spec + "x"))])
            await insert(repository, [record("small"), largest])
            (found,) = await repository.read([largest.ref])
            assert found == largest
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(repository.clock)
            changed = record("large", spec=largest.spec[:-20])
            assert await repository.swap([Change(largest, changed)]) == [Swap.APPLIED]
            assert {one.spec for one in await claim(repository)} == {"{}", changed.spec}


async def test_a_spec_of_several_packets(mysql_server: Server) -> None:
    """A record that is larger than one packet of the protocol, 16 MB."""
    store = Store(mysql_server)
    async with store.open() as repository:
        one = record("one", spec="x" * (20 * 2**20))
        await insert(repository, [one])
        assert await repository.read([one.ref]) == [one]
        assert [each.spec for each in await claim(repository)] == [one.spec]
    await store.ask(f"DROP TABLE {store.table}, {store.table}_runs")
