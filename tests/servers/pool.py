"""The servers of one process: shared ones, which are started when first requested, and private ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from . import external
from .cache import Unavailable
from .model import Server
from .process import Session
from .providers import PROVIDERS

T = TypeVar("T")

DOWNLOADS_AT_A_TIME = 3
ANNOUNCE_AFTER_SECONDS = 1.0


class Pool:
    """Provides servers, and remembers why some are not available."""

    def __init__(self) -> None:
        self.missing: dict[str, Unavailable] = {}
        #: The shared servers that were started, by their kind.
        self.running: dict[str, Server] = {}
        self._sessions: list[Session] = []

    def prepare(self, kinds: Iterable[str], announce: Callable[[str], None]) -> None:
        """Download and build what these kinds need, several at a time. Errors are raised when a server is requested."""
        wanted = [kind for kind in kinds if not external.given(kind)]
        with ThreadPoolExecutor(DOWNLOADS_AT_A_TIME) as threads:
            jobs = [threads.submit(self._prepare, kind) for kind in wanted]
            if wait(jobs, ANNOUNCE_AFTER_SECONDS).not_done:
                announce(f"test servers: getting {', '.join(wanted)} ready, which takes a while on the first run")
        for job in jobs:
            job.result()

    def shared(self, kind: str) -> Server:
        """Return the server of this kind that all tests share.

        :raises Unavailable: it cannot be had.
        """
        if kind not in self.running:
            self.running[kind] = self._attempt(kind, lambda: external.server(kind) or self._start(kind))
        return self.running[kind]

    @contextlib.contextmanager
    def private(self, kind: str, *options: str) -> Iterator[Server]:
        """Start a server for one test alone, with additional command line options; it goes with its data afterwards.

        :raises Unavailable: it cannot be had, or servers of this kind are somebody else's.
        :raises RuntimeError: it starts without these options only.
        """
        if external.given(kind):
            raise Unavailable(f"{external.variable(kind)} names a server, and this needs one of its own")
        try:
            server = self._start(kind, *options)
        except (Unavailable, OSError) as error:
            self.shared(kind)
            raise RuntimeError(f"{kind} does not start with {' '.join(options)}") from error
        try:
            yield server
        finally:
            server.control.discard()

    def close(self) -> None:
        """End all servers and remove their data."""
        self.running.clear()
        while self._sessions:
            self._sessions.pop().close()

    def _prepare(self, kind: str) -> None:
        with contextlib.suppress(Unavailable):
            self._attempt(kind, PROVIDERS[kind].prepare)

    def _start(self, kind: str, *options: str) -> Server:
        provider = PROVIDERS[kind]
        provider.prepare()
        if not self._sessions:
            self._sessions.append(Session())
        return provider.start(self._sessions[0], *options)

    def _attempt(self, kind: str, get: Callable[[], T]) -> T:
        if kind in self.missing:
            raise self.missing[kind]
        try:
            return get()
        except Unavailable as error:
            self.missing[kind] = error
            raise
        except OSError as error:  # a full disk, a folder that is closed to us
            self.missing[kind] = Unavailable(str(error))
            raise self.missing[kind] from error
