"""Checks observers when they are added, so that mistakes show before the first event is emitted."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from .checks import signature_of
from .suggest import near_miss


def overrides(observer: object, base: type, name: str) -> bool:
    """Whether the observer overrides the method ``name`` of ``base``."""
    return getattr(getattr(observer, name), "__func__", None) is not getattr(base, name)


def check_observer(observer: object, base: type, events: Mapping[str, type]) -> None:
    """:raises TypeError: it does not derive from ``base``, or a method could not be called with an event.

    :param events: the event that each method takes.
    """
    if isinstance(observer, type):
        raise TypeError(f"{observer.__name__} is a class: write app.use_observer({observer.__name__}()).")
    cls = type(observer).__name__
    if not isinstance(observer, base):
        raise TypeError(
            f"An observer must derive from pyncette.observer.Observer, not {cls}: write class {cls}(Observer)."
        )
    for name in dir(type(observer)):
        meant = None if name.startswith("_") or hasattr(base, name) else near_miss(name, tuple(events))
        if meant is not None and callable(inspect.getattr_static(observer, name)):
            raise TypeError(
                f"{cls}.{name} would never be called: write def {meant}, or _{name} if it is meant for another purpose."
            )
    for name, event in events.items():
        if overrides(observer, base, name):
            form = f"def {name}(self, event: {event.__name__}) -> None"
            _check_method(f"{cls}.{name}", getattr(observer, name), form)


def _check_method(name: str, method: object, form: str) -> None:
    if not callable(method):
        raise TypeError(f"{name} must be a method, not {method!r}: write {form}.")
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    if any(is_kind(called) for is_kind in kinds for called in (method, type(method).__call__)):
        raise TypeError(f"{name} must be a plain method, because events are emitted synchronously: write {form}.")
    try:
        signature_of(method).bind(None)
    except ValueError:  # some builtins have no signature
        return
    except TypeError as e:
        raise TypeError(f"{name} must take the event as its only argument ({e}): write {form}.") from None
