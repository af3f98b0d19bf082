"""The faults. A seed decides which one comes next, and when; each is recorded with its start and end."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio

from tests.helpers.network import Network
from tests.servers.cache import Unavailable
from tests.servers.process import Program, succeeds, wait_until

from .clocks import set_clock
from .disks import clear, fill, mounted
from .journal import now
from .processes import Slot
from .stores import Store

EVERYBODY = "*"
SHORT_STOP = "shorter than a lease"


@dataclass(slots=True)
class Fault:
    """A fault that was injected.

    :ivar kind: its kind, as on the command line.
    :ivar detail: its variant.
    :ivar target: the process (``0.3``), all processes of a slot (``0``), or all (``*``).
    :ivar began, ended: monotonic time.
    """

    kind: str
    detail: str
    target: str
    began: int
    ended: int = 0

    def takes_leases(self, process: str) -> bool:
        """Whether it may have cost this process leases."""
        harmless = self.kind == "clock" or self.detail == SHORT_STOP
        return not harmless and self.target in {EVERYBODY, process, process.partition(".")[0]}

    @property
    def cause(self) -> str:
        return f"{self.kind}, {self.detail}"


class Faults:
    """Injects faults: one at a time of each kind, but different kinds concurrently.

    :ivar done: the faults so far.
    """

    def __init__(
        self, kinds: Sequence[str], store: Store, slots: Sequence[Slot], networks: Sequence[Network], seed: int
    ) -> None:
        """:param networks: those of the slots in their order, those of the operators, and one that stays
        undisturbed."""
        self._kinds = [kind for kind in kinds if kind in _ACTS]
        self._seed = seed
        self._store = store
        self._slots = slots
        self._networks = networks
        self._lease: float = slots[0].options["lease"]
        self.done: list[Fault] = []

    async def run(self, every: float) -> None:
        """Inject one fault every ``every`` seconds on average until cancelled. A fault under way is completed first."""
        total = sum(_ACTS[kind].weight for kind in self._kinds)
        async with anyio.create_task_group() as group:
            for kind in self._kinds:
                group.start_soon(self._go_on, kind, every * total / _ACTS[kind].weight)
            while True:
                for slot in self._slots:
                    slot.look()
                await anyio.sleep(0.1)

    async def _go_on(self, kind: str, every: float) -> None:
        rng = random.Random(f"{self._seed} {kind}")
        while True:
            await anyio.sleep(rng.expovariate(1 / every))
            with anyio.CancelScope(shield=True):
                await _ACTS[kind].act(self, rng)

    @asynccontextmanager
    async def _fault(self, kind: str, detail: str, target: str) -> AsyncIterator[None]:
        fault = Fault(kind, detail, target, now())
        self.done.append(fault)
        try:
            yield
        finally:
            fault.ended = now()

    async def kill(self, rng: random.Random) -> None:
        """Kill a worker without warning; another one replaces it."""
        slot = rng.choice(self._slots)
        async with self._fault("kill", "SIGKILL", slot.name):
            slot.kill()
        await anyio.sleep(rng.choice([0.0, 0.0, 1.0]))
        slot.start()

    async def stop(self, rng: random.Random) -> None:
        """Suspend a worker for longer than a lease, or for a moment; then it continues without knowing."""
        slot = rng.choice(self._slots)
        leases = rng.choice([0.2, 1.2, 1.5])
        async with self._fault("stop", "longer than a lease" if leases > 1 else SHORT_STOP, slot.name):
            slot.signal(signal.SIGSTOP)
            await anyio.sleep(leases * self._lease)
            slot.signal(signal.SIGCONT)

    async def network(self, rng: random.Random) -> None:
        """Disturb the network of one process or of all."""
        all_of_them = self._networks[:-1]
        number = rng.randrange(len(all_of_them) + 1)
        alone = number < len(all_of_them)
        networks = [all_of_them[number]] if alone else all_of_them
        form = rng.choice(list(_NETWORK))
        seconds = rng.uniform(0.1, 1.5) * self._lease
        async with self._fault("network", form, str(number) if alone else EVERYBODY):
            await _NETWORK[form](networks, seconds)

    async def restart(self, rng: random.Random) -> None:
        """Kill the server and restart it."""
        server = self._store.server
        assert server is not None
        async with self._fault("restart", "SIGKILL", EVERYBODY):
            await anyio.to_thread.run_sync(lambda: server.stop(kill=True))
            await anyio.sleep(rng.choice([0.0, 0.5, 1.2 * self._lease]))
            await anyio.to_thread.run_sync(server.start)

    async def fail_over(self, rng: random.Random) -> None:
        """Make another server take over from a master, which then comes back as a replica."""
        way = self._store.fail_over
        assert way is not None
        form, choice = rng.choice(way.forms), rng.randrange(1000)
        async with self._fault("failover", form, EVERYBODY):
            address = await anyio.to_thread.run_sync(way.fail_over, form, choice)
            if address is not None:
                for network in self._networks:
                    network.lead_to(*address)
            await anyio.to_thread.run_sync(way.recover)

    async def clock(self, rng: random.Random) -> None:
        """Set the clock of a worker's machine. That must have no effect, as the storage's time counts."""
        slot = rng.choice(self._slots)
        seconds = rng.choice([-86_400, -7, 0, 7, 3_600])
        detail = "true" if not seconds else "ahead" if seconds > 0 else "behind"
        async with self._fault("clock", detail, str(slot.number)):
            set_clock(slot.clock, seconds)

    async def disk(self, rng: random.Random) -> None:
        """Fill the disk that holds the data for a while."""
        disk, server = mounted(), self._store.server
        assert disk is not None
        async with self._fault("disk", "full", EVERYBODY):
            await anyio.to_thread.run_sync(fill, disk)
            await anyio.sleep(rng.uniform(0.2, 1.5) * self._lease)
            clear(disk)
            if server is not None and isinstance(server.control, Program):
                await anyio.to_thread.run_sync(_revive, server.control)


@dataclass(frozen=True, slots=True)
class _Act:
    """:ivar weight: its frequency relative to the others."""

    act: Callable[[Faults, random.Random], Awaitable[None]]
    weight: float


_ACTS: dict[str, _Act] = {
    "kill": _Act(Faults.kill, 4),
    "stop": _Act(Faults.stop, 3),
    "network": _Act(Faults.network, 4),
    "restart": _Act(Faults.restart, 1),
    "failover": _Act(Faults.fail_over, 1),
    "clock": _Act(Faults.clock, 3),
    "disk": _Act(Faults.disk, 1),
}


def _revive(program: Program) -> None:
    """Restart a server that has ended because it could not write."""
    try:
        wait_until(lambda: succeeds(program.ready), 5)
    except Unavailable:
        program.stop(kill=True)
        program.start()


async def _delayed(networks: Sequence[Network], seconds: float) -> None:
    for network in networks:
        network.latency = min(seconds / 3, 1.0)
    await anyio.sleep(seconds)
    for network in networks:
        network.latency = 0.0


async def _swallowed(networks: Sequence[Network], seconds: float) -> None:
    for network in networks:
        network.swallow()
    await anyio.sleep(seconds)
    for network in networks:
        network.restore()


async def _dropped(networks: Sequence[Network], _: float) -> None:
    for network in networks:
        network.drop()


async def _half_closed(networks: Sequence[Network], _: float) -> None:
    for network in networks:
        network.half_close()


_NETWORK: dict[str, Callable[[Sequence[Network], float], Awaitable[None]]] = {
    "delayed": _delayed,
    "swallowed": _swallowed,
    "dropped": _dropped,
    "half-closed": _half_closed,
}


@asynccontextmanager
async def networks(store: Store, count: int) -> AsyncIterator[list[Network]]:
    """Proxies to the store's server, one for each process whose connections may be disturbed; empty if there is no
    server."""
    async with AsyncExitStack() as stack:
        if store.address is None:
            yield []
            return
        yield [await stack.enter_async_context(Network(*store.address)) for _ in range(count)]
