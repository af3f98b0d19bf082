"""Parameters of a task function that are filled from fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar, overload

T = TypeVar("T")


class FromFixture:
    """The default value that marks a parameter as filled from a fixture."""

    __slots__ = ("_wanted",)

    def __init__(self, wanted: object) -> None:
        self._wanted = wanted

    def name_among(self, fixtures: Mapping[str, Any], parameter: str) -> str:
        """:raises ValueError: there is no such fixture."""
        if callable(self._wanted):
            for name, function in fixtures.items():
                if function is self._wanted:
                    return name
            shown = getattr(self._wanted, "__name__", repr(self._wanted))
            raise ValueError(f"{shown} is not a fixture of the app: decorate it with @app.fixture().")
        name = str(parameter if self._wanted is None else self._wanted)
        if name not in fixtures:
            known = ", ".join(map(repr, fixtures)) or "none at all"
            raise ValueError(f"the app has no fixture {name!r} (it has {known}): declare it with @app.fixture().")
        return name

    def __repr__(self) -> str:
        wanted = self._wanted
        return f"from_fixture({getattr(wanted, '__name__', repr(wanted)) if wanted is not None else ''})"


@overload
def from_fixture(fixture: Callable[[Any], AsyncIterator[T]], /) -> T: ...
@overload
def from_fixture(fixture: str | None = None, /) -> Any: ...
def from_fixture(fixture: object = None, /) -> Any:
    """The default of a parameter that a task function gets from a fixture: ``session: Session = from_fixture()``.

    :param fixture: the fixture, as its function or by its name; the parameter's name by default. Of a function type
        checkers know what it yields.
    :raises TypeError: it is neither.
    """
    if not (fixture is None or callable(fixture) or isinstance(fixture, str)):
        raise TypeError(f"from_fixture() takes a fixture's function or name, not {fixture!r}.")
    return FromFixture(fixture)
