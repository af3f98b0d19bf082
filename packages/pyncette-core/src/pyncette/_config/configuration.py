"""Where an app's tasks are stored and how they are executed: the parameters of ``Pyncette(…)``, and overrides."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pyncette._validation.checks import check_duration
from pyncette.options import LoopOptions, Options, Parameters, bind

from .backends import Factory, choose, opens_later


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A checked configuration.

    :ivar options: options of the backend and of the executor.
    :ivar factory: creates the repository, with the options ``bound.repository``.
    :ivar bound: all options, grouped by what they belong to.
    """

    repository_factory: Factory | str | None
    executor_cls: Callable[..., Any]
    poll_interval: datetime.timedelta
    loop: LoopOptions
    options: Mapping[str, Any]
    factory: Factory = field(init=False)
    bound: Options = field(init=False)

    def __post_init__(self) -> None:
        check_duration("poll_interval", self.poll_interval)
        factory, from_url = choose(self.repository_factory, self.options)
        object.__setattr__(self, "factory", factory)
        object.__setattr__(self, "bound", bind(self.options, self.loop, factory, self.executor_cls, from_url))
        if opens_later(factory):
            factory(**self.bound.repository)  # to check the options

    def overridden(self, loop: Mapping[str, Any], options: Mapping[str, Any], **changed: Any) -> Configuration:
        """This configuration with other values; None leaves a value as it is.

        Options that only an overridden repository factory or executor accepts are dropped together with it.
        """
        changed = {name: value for name, value in changed.items() if value is not None}
        kept = {name: value for name, value in self.options.items() if self._outlives(name, changed, options)}
        new_loop = replace(self.loop, **{name: value for name, value in loop.items() if value is not None})
        return replace(self, loop=new_loop, options={**kept, **options}, **changed)

    def _outlives(self, name: str, changed: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
        if not changed.keys() & {"repository_factory", "executor_cls"}:
            return True
        repository_factory = changed.get("repository_factory", self.repository_factory)
        factory, from_url = choose(repository_factory, {**self.options, **options})
        executor = Parameters.of(changed.get("executor_cls", self.executor_cls))
        return name not in from_url and (Parameters.of(factory).take(name) or executor.take(name))
