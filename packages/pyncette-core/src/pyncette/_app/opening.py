"""The context manager that ``app.create()`` returns. It explains itself when it is mistaken for the context."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Never

from .running import PyncetteContext


class Opening(AbstractAsyncContextManager[PyncetteContext]):
    """Opens the app when it is entered."""

    def __init__(self, opened: AbstractAsyncContextManager[PyncetteContext]) -> None:
        self._opened = opened

    async def __aenter__(self) -> PyncetteContext:
        return await self._opened.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._opened.__aexit__(exc_type, exc, traceback)

    if not TYPE_CHECKING:  # type checkers know that it has no such attributes

        def __getattr__(self, name: str) -> Never:
            if hasattr(PyncetteContext, name):
                raise AttributeError(
                    f"app.create() has no {name!r}, the context that it opens has: "
                    f"async with app.create() as context: context.{name}"
                )
            raise AttributeError(f"app.create() has no {name!r}.")
