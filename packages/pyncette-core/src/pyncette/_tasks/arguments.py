"""The arguments that a task function declares: read from its signature once, checked whenever arguments are passed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyncette._validation.suggest import nearest
from pyncette.errors import ArgumentsException

from .spec import encode_args


class Inconvertible(ValueError):
    """A value doesn't match its type.

    :ivar path: where, as keys and positions, beginning with the argument's name.
    """

    def __init__(self, path: Sequence[object], problem: str) -> None:
        super().__init__(problem)
        self.path = tuple(path)


class Conversion(Protocol):
    """Converts values of a type to JSON and back.

    :ivar fields: the names in the JSON object; None if it may have any.
    :ivar is_object: whether a value is a JSON object.
    """

    fields: frozenset[str] | None
    is_object: bool

    def encode(self, value: object) -> Any:
        """Convert ``value`` to JSON. It may be of the type, or encoded already.

        :raises Inconvertible: it is neither, or decoding it would not yield the same value.
        """

    def decode(self, text: str) -> Any:
        """:raises Inconvertible: the text is not a value of the type."""


class Source(Protocol):
    """The source of a parameter's value if that is not an argument: a fixture."""

    def name_among(self, fixtures: Mapping[str, Any], parameter: str) -> str:
        """:raises ValueError: there is no such fixture."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the function after its context."""

    name: str
    conversion: Conversion
    required: bool


class Arguments:
    """The arguments of one task. They are passed and stored by name.

    :ivar names: the valid names; None if only the model's conversion knows them.
    :ivar fixture_names: the parameters that are filled from fixtures, with the name of each.
    """

    def __init__(
        self,
        task: str,
        parameters: Mapping[str, Parameter],
        model: Parameter | None,
        every: Conversion | None,
        fixtures: Mapping[str, Source],
        signature: inspect.Signature,
    ) -> None:
        self._task = task
        self._parameters = parameters
        self._model = model
        self._every = every if model is None else model.conversion
        self._sources = fixtures
        self._signature = signature
        self._required = frozenset(name for name, parameter in parameters.items() if parameter.required)
        self.names: frozenset[str] | None = frozenset(parameters) if model is None else model.conversion.fields
        self.fixture_names: dict[str, str] = {}

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call, by name.

        :raises TypeError: an argument is unknown or passed twice, or the model has a different type.
        """
        for name in kwargs:
            if name in self._sources:
                raise TypeError(f"{name!r} of {self._task!r} is filled from a fixture: leave it out.")
            if self._model is not None:
                raise TypeError(
                    f"{self._task!r} takes all its arguments as one model: pass {self._model.name} itself, not its "
                    "fields."
                )
            if name not in self._parameters:
                raise self._unknown(name)
        try:
            given = self._signature.bind_partial(*args, **kwargs).arguments
        except TypeError as e:
            raise TypeError(f"The arguments of {self._task!r} don't fit its function: {e}.") from None
        if self._model is None:
            return dict(given)
        if self._model.name not in given:
            return {}
        try:
            return dict(self._model.conversion.encode(given[self._model.name]))
        except Inconvertible as e:
            raise TypeError(self._wrong((self._model.name, *e.path), e)) from None

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Convert arguments to JSON. They need not be complete.

        :raises TypeError: an argument is unknown, or has a different type.
        :raises ValueError: a value is not strict JSON.
        """
        encoded: dict[str, Any] = {}
        for name, value in values.items():
            if self.names is not None and name not in self.names:
                raise self._unknown(name)
            if self._model is not None:
                encoded[name] = value
                continue
            try:
                encoded[name] = self._parameters[name].conversion.encode(value)
            except Inconvertible as e:
                raise TypeError(self._wrong((name, *e.path), e)) from None
        encode_args(encoded)
        return encoded

    def check_complete(self, encoded: Mapping[str, Any]) -> None:
        """:raises TypeError: an argument is missing or, with a model, has a different type."""
        for name in self._required:
            if name not in encoded:
                raise self._missing(name)
        if self._model is not None and (encoded or self._model.required):
            self._decoded(encoded, TypeError)

    def check_override(self, stored: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Check a run's own arguments, which override the stored ones. A model is only complete with both.

        :raises TypeError: they have a different type.
        """
        if self._model is not None and own:
            self._decoded({**stored, **own}, TypeError)

    def decode(self, args: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Convert stored arguments to those that the function takes, by position and by name.

        :raises ArgumentsException: they don't fit the function, because another version of the program declared it
            differently.
        """
        for name in args:
            if self.names is not None and name not in self.names:
                raise _outdated(self._unknown(name))
        if self._model is not None:
            return ((self._decoded(args, _outdated),) if args or self._model.required else ()), {}
        for name in self._required:
            if name not in args:
                raise _outdated(self._missing(name))
        return (), self._decoded(args, _outdated) if args else {}

    def resolve(self, fixtures: Mapping[str, Any]) -> None:
        """Look up the fixtures in the app.

        :raises ValueError: there is no such fixture, or an argument has the name of a fixture.
        """
        for name in self._parameters:
            if name in fixtures:
                raise ValueError(
                    f"The argument {name!r} of {self._task!r} has the name of a fixture: write {name}: … = "
                    "from_fixture() if the fixture is meant, otherwise give one of them another name."
                )
        for parameter, source in self._sources.items():
            try:
                self.fixture_names[parameter] = source.name_among(fixtures, parameter)
            except ValueError as e:
                raise ValueError(f"The parameter {parameter!r} of {self._task!r}: {e}") from None

    def taken_from(self, context: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """What to pass to the function after its context, by position and by name: arguments and fixtures.

        :raises ArgumentsException: as for :meth:`decode`.
        """
        positional, keywords = self.decode(context.args)
        if not self.fixture_names:
            return positional, keywords
        return positional, {
            **keywords,
            **{name: getattr(context, fixture) for name, fixture in self.fixture_names.items()},
        }

    def _decoded(self, args: Mapping[str, Any], error: Callable[[str], Exception]) -> Any:
        assert self._every is not None  # noqa: S101 - there are no arguments without one
        try:
            return self._every.decode(encode_args(args))
        except Inconvertible as e:
            raise error(self._wrong(e.path, e)) from None

    def _wrong(self, path: Sequence[object], problem: Inconvertible) -> str:
        if not path:
            return f"The arguments of {self._task!r}: {problem}."
        where = str(path[0]) + "".join(f"[{key!r}]" for key in path[1:])
        return f"The argument {where} of {self._task!r}: {problem}."

    def _unknown(self, name: str) -> TypeError:
        known = sorted(self.names or ())
        meant = nearest(name, known)
        declared = f"it declares {', '.join(known)}" if known else "it declares none"
        hint = f"did you mean {meant!r}?" if meant is not None else f"{declared}."
        return TypeError(f"The task {self._task!r} has no argument {name!r}: {hint}")

    def _missing(self, name: str) -> TypeError:
        return TypeError(f"The task {self._task!r} needs the argument {name!r}, which has no default: pass {name}=….")


def _outdated(problem: object) -> ArgumentsException:
    return ArgumentsException(f"The stored arguments don't fit the function, as it is now. {problem}")
