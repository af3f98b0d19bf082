"""Converts arguments with pydantic, which the extra ``typed`` installs. The only module that uses it."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Any, NotRequired

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import SchemaError
from typing_extensions import TypedDict

from .arguments import Inconvertible


class Converted:
    """Converts values of one type. Strict: only values without a JSON equivalent are converted.

    :ivar fields: the names in the JSON object; None if it may have any names, or is not an object.
    :ivar is_object: whether a value is a JSON object.
    """

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._adapter = adapter
        self.is_object, self.fields = _form(adapter.json_schema())

    def encode(self, value: object) -> Any:
        try:
            valid = self._adapter.validate_python(value, strict=True)
        except ValidationError as e:
            return self._encoded_already(value, Inconvertible(*_first(e)))
        try:
            encoded = self._adapter.dump_python(
                valid, mode="json", by_alias=True, warnings=False
            )  # the result is compared below
            text = json.dumps(encoded)
        except (TypeError, ValueError, RecursionError):  # their messages may contain values
            raise Inconvertible(
                (), f"it is of type {type(value).__name__}, and JSON can't hold what is in it"
            ) from None
        try:
            back = self._adapter.validate_json(text, strict=True)
        except ValidationError as e:
            path, message = _first(e)
            raise Inconvertible(path, f"what JSON would hold of it can't be read back ({message})") from None
        if _is_converted(value, valid) and _is_same(back, valid):  # for example, it was an object or an array
            kind, given = type(valid).__name__, type(value).__name__
            return self._encoded_already(value, Inconvertible((), f"it should be an instance of {kind}, not {given}"))
        if not _is_same(back, value):
            raise Inconvertible(
                (),
                f"it is of type {type(value).__name__} and would not arrive as it was: declare a type that JSON can "
                "hold without loss",
            )
        return encoded

    def decode(self, text: str) -> Any:
        try:
            return self._adapter.validate_json(text, strict=True)
        except ValidationError as e:
            raise Inconvertible(*_first(e)) from None

    def _encoded_already(self, value: object, problem: Inconvertible) -> Any:
        """Check a value that is already JSON: it comes from a command line, or from another storage.

        :param problem: raised if it isn't valid JSON for the type.
        """
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise problem from None
        try:
            self.decode(text)
        except Inconvertible:
            if isinstance(value, (str, dict, list)):  # other JSON values are not encoded forms
                raise
            raise problem from None
        return json.loads(text)


class Converter:
    """Creates conversions."""

    def of_type(self, annotation: Any) -> Converted:
        """:raises TypeError: JSON can't represent its values."""
        try:
            return Converted(TypeAdapter(annotation))
        except (PydanticUserError, PydanticUndefinedAnnotation, SchemaError) as e:
            said = str(e).splitlines()[0].partition(". ")[0]  # the rest is advice for other cases
            raise TypeError(f"{said.rstrip('.')}.") from None

    def object_of(self, types: Mapping[str, Any]) -> Converted:
        """The conversion of an object with these fields, all optional."""
        make: Any = TypedDict  # Any, because type checkers require literal names
        return Converted(TypeAdapter(make("Arguments", {name: NotRequired[kind] for name, kind in types.items()})))


def _is_same(a: Any, b: Any) -> bool:
    """Whether two values are equal.

    The same moment in two timezones is equal, even where ``==`` says no because a clock is set back. Objects that can't
    be compared are equal if their attributes are.
    """
    if a == b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, datetime.datetime):
        return None not in (a.tzinfo, b.tzinfo) and a.astimezone(datetime.UTC) == b.astimezone(datetime.UTC)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_is_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_is_same, a, b))
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a)]
        return all(_is_same(getattr(a, name, None), getattr(b, name, None)) for name in names)
    return hasattr(a, "__dict__") and bool(vars(a)) and _is_same(vars(a), vars(b))


def _is_converted(value: Any, valid: Any) -> bool:
    """Whether validation has changed the type of ``value``, or of a part of it, to that of ``valid``."""
    if type(value) is not type(valid):
        return not _is_same(value, valid)
    if isinstance(value, Mapping):
        return any(_is_converted(value[key], valid[key]) for key in value.keys() & valid.keys())
    if isinstance(value, (list, tuple)):
        return any(map(_is_converted, value, valid))
    return False


def _form(schema: Mapping[str, Any]) -> tuple[bool, frozenset[str] | None]:
    """Whether a schema describes objects, and their field names; None if any names are allowed."""
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    if "oneOf" in schema:
        return all("$ref" in each or each.get("type") == "object" for each in schema["oneOf"]), None
    if schema.get("type") != "object":
        return False, None
    return True, None if schema.get("additionalProperties") else frozenset(schema.get("properties", ()))


def _first(error: ValidationError) -> tuple[tuple[object, ...], str]:
    """The path and the problem of the first error. The value is omitted, because it may be a secret."""
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "missing":
        return first["loc"], "it is missing"
    message = first["msg"].replace("Input should", "it should", 1)
    is_of_other_type = first["type"].endswith("_type")
    return first["loc"], f"{message}, not {type(first['input']).__name__}" if is_of_other_type else message
