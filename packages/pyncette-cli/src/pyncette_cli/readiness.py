"""Tells the supervisor when a worker has begun to work."""

from __future__ import annotations

from pyncette.events import TickStarted
from pyncette.observer import Observer

from .lifeline import Supervised


class Ready(Observer):
    """With the first pass of its loop a worker has imported the app, opened the storage and set up the fixtures."""

    def __init__(self, worker: Supervised) -> None:
        self._worker = worker
        self._said = False

    def tick_started(self, event: TickStarted, /) -> None:
        if not self._said:
            self._said = True
            self._worker.say_ready()
