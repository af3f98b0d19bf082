"""Reads the arguments that a task function declares: its parameters after the context."""

from __future__ import annotations

import datetime
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from pyncette._validation.checks import check_function, signature_of

from .arguments import Arguments, Inconvertible, Parameter
from .fixtures import FromFixture

if TYPE_CHECKING:
    from .converting import Converter

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_NOTHING = inspect.Parameter.empty
_PLAIN = (bool, int, float, str, bytes, list, tuple, dict, set, datetime.date, datetime.datetime, datetime.timedelta)


def read_arguments(task: str, function: Callable[..., Any]) -> Arguments | None:
    """The arguments that ``function`` declares; None if it takes the context alone.

    A parameter with a default but without a type is not an argument: functions created in a loop keep a value that way.

    :raises TypeError: it can't be called with a context, or an argument can't be passed or stored.
    """
    parameters = _parameters(function)
    if parameters:
        _check_context(task, function, parameters[0])
    if not parameters or parameters[0].kind not in _BY_POSITION or not any(map(_is_argument, parameters[1:])):
        check_function("task", function, "context")
        return None
    rest = [each for each in parameters[1:] if _is_argument(each) or each.kind in _VARIADIC]
    fixtures = {each.name: each.default for each in rest if isinstance(each.default, FromFixture)}
    values = [parameter for parameter in rest if parameter.name not in fixtures]
    _check_kinds(task, values, fixtures, parameters)
    signature = inspect.Signature([each.replace(annotation=_NOTHING) for each in values])
    if not values:
        return Arguments(task, {}, None, None, fixtures, signature)
    converter, annotations = _converter(task, values[0]), _annotations(task, function, values)
    read = {each.name: _read(task, each, annotations[each.name], converter) for each in values}
    if values[0].kind is inspect.Parameter.POSITIONAL_ONLY:
        return Arguments(task, {}, read[values[0].name], None, fixtures, signature)
    every = converter.object_of({each.name: annotations[each.name] for each in values})
    return Arguments(task, read, None, every, fixtures, signature)


def _parameters(function: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    """The function's parameters, without those that a ``functools.partial`` has set by keyword."""
    given = function.keywords if isinstance(function, functools.partial) else {}
    try:
        return [each for each in signature_of(function).parameters.values() if each.name not in given]
    except (TypeError, ValueError):  # some builtins have none; objects that aren't functions are reported later
        return ()


def _check_context(task: str, function: Callable[..., Any], first: inspect.Parameter) -> None:
    """Refuse a first parameter that is meant as an argument, because it would receive the context.

    :raises TypeError: its type is that of an argument.
    """
    if first.annotation is _NOTHING:
        return
    try:
        annotation = _annotations(task, function, [first])[first.name]
    except Exception:  # noqa: BLE001 - Context may be imported for type checkers only
        return
    if (get_origin(annotation) or annotation) in _PLAIN:
        argument = first.replace(annotation=annotation)
        raise TypeError(
            f"A task function takes its context first, but the first parameter of the task {task!r} is {argument}: "
            f"write def …(context: Context, {argument})."
        )


def _is_argument(parameter: inspect.Parameter) -> bool:
    if parameter.kind in _VARIADIC:
        return False
    is_typed = parameter.annotation is not _NOTHING or isinstance(parameter.default, FromFixture)
    return is_typed or not _has_default(parameter)


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not _NOTHING


def _check_kinds(
    task: str,
    values: Sequence[inspect.Parameter],
    fixtures: Mapping[str, FromFixture],
    parameters: Sequence[inspect.Parameter],
) -> None:
    for parameter in values:
        if parameter.kind in _VARIADIC:
            raise TypeError(
                f"The parameter {parameter} of the task {task!r} stands for any number of arguments: name each one, "
                "with its type."
            )
        if parameter.annotation is _NOTHING:
            raise TypeError(
                f"The argument {parameter.name!r} of the task {task!r} has no type: write {parameter.name}: int, or "
                "whatever it is."
            )
    by_position = [parameter for parameter in values if parameter.kind is inspect.Parameter.POSITIONAL_ONLY]
    if by_position and len(values) > 1:
        raise TypeError(
            f"The task {task!r} has {by_position[0].name!r} before the '/', as a model of all arguments, and others "
            "besides it: leave the '/' out, or make the others fields of the model."
        )
    for parameter in parameters:
        if parameter.name in fixtures and parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TypeError(f"The fixture {parameter.name!r} of the task {task!r} must come after the '/'.")


def _converter(task: str, first: inspect.Parameter) -> Converter:
    try:
        from . import converting
    except ImportError as e:
        if (e.name or "").partition(".")[0] == "pyncette":
            raise
        raise TypeError(
            f"The task {task!r} declares the argument {first.name!r}, and typed arguments need pydantic: install "
            "pyncette[typed] or pyncette-core[typed]. A task function that takes the context alone needs nothing, and "
            "finds its arguments in context.args."
        ) from e
    return converting.Converter()


def _annotations(task: str, function: Callable[..., Any], values: Sequence[inspect.Parameter]) -> dict[str, Any]:
    namespace = getattr(_innermost(function), "__globals__", {})
    found: dict[str, Any] = {}
    for parameter in values:
        holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        try:
            found.update(get_type_hints(holder, globalns=namespace, include_extras=True))
        except NameError as e:
            raise TypeError(
                f"The type of the argument {parameter.name!r} of the task {task!r} can't be found ({e}): define or "
                "import it at the top of the module, not within 'if TYPE_CHECKING:' or a function."
            ) from None
    return found


def _innermost(function: Any) -> Any:
    """The function that the annotations belong to, beneath wrappers and partials."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif hasattr(function, "__globals__") or inspect.isclass(function):
            return function
        elif inspect.ismethod(getattr(function, "__call__", None)):  # noqa: B004 - it is known to be callable
            function = function.__call__
        elif inspect.ismethod(function):
            function = function.__func__
        else:
            return function


def _read(task: str, parameter: inspect.Parameter, annotation: Any, converter: Converter) -> Parameter:
    name = parameter.name
    if getattr(annotation, "__module__", "") == "pyncette._app.context":
        raise TypeError(
            f"The context comes first and alone, but the task {task!r} has another parameter, {name!r}, of that type: "
            "write def …(context: Context, …)."
        )
    try:
        conversion = converter.of_type(annotation)
    except TypeError as e:
        raise TypeError(
            f"The argument {name!r} of the task {task!r} can't be stored as JSON: {e} If it is a fixture, write "
            f"{name}: … = from_fixture()."
        ) from None
    if _has_default(parameter):
        try:
            conversion.encode(parameter.default)
        except Inconvertible as e:
            raise TypeError(f"The default of the argument {name!r} of the task {task!r}: {e}.") from None
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and not conversion.is_object:
        raise TypeError(
            f"The argument {name!r} of the task {task!r} stands before the '/' and so is a model of all arguments, "
            "which must be a class with fields, such as a dataclass: leave the '/' out."
        )
    return Parameter(name, conversion, required=not _has_default(parameter))
