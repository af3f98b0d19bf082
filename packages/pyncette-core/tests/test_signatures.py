"""The signatures that type checkers and editors see match what declarations and calls accept."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import sys
import types
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest

from pyncette import Context, Policies, Pyncette, PyncetteContext, Task
from pyncette._tasks.fixtures import FromFixture
from pyncette._tasks.keywords import SCHEDULE_PARAMETERS, TASK_PARAMETERS, Argument
from pyncette._tasks.policies import POLICIES
from pyncette._tasks.signature import _innermost, _parameters
from pyncette._tasks.timing import Timing
from pyncette.options import LoopOptions

DECORATORS: list[Callable[..., Any]] = [Pyncette.task, Pyncette.dynamic_task, Pyncette.partitioned_task]
FOR_INSTANCES: list[Callable[..., Any]] = [Task.instantiate, PyncetteContext.schedule_task]


@pytest.mark.parametrize("decorator", DECORATORS, ids=lambda function: function.__name__)
def test_decorators_have_each_policy(decorator: Callable[..., Any]) -> None:
    expected = [
        (field.name, field.default, get_type_hints(Policies)[field.name]) for field in dataclasses.fields(Policies)
    ]
    hints = get_type_hints(decorator)
    parameters = inspect.signature(decorator).parameters
    between = list(parameters)[list(parameters).index("enabled") + 1 : list(parameters).index("args")]
    assert [(name, parameters[name].default, hints[name]) for name in between] == expected, "repeat Policies"
    assert hints["kwargs"] == Argument


@pytest.mark.parametrize("function", [*DECORATORS, *FOR_INSTANCES], ids=lambda function: function.__name__)
def test_the_schedule_is_passed_by_keyword(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    given = [name for name in SCHEDULE_PARAMETERS if function is not Pyncette.task or name != "execute_at"]
    assert [name for name in parameters if name in SCHEDULE_PARAMETERS] == given
    hints = get_type_hints(function)
    for name in given:
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default is None
        assert hints[name] == get_type_hints(Timing)[name]


@pytest.mark.parametrize("function", FOR_INSTANCES, ids=lambda function: function.__name__)
def test_policies_can_not_be_given_for_an_instance(function: Callable[..., Any]) -> None:
    assert not POLICIES.keys() & inspect.signature(function).parameters.keys()


def test_every_parameter_is_known_to_the_search_for_misspelt_ones() -> None:
    parameters = {name for decorator in DECORATORS for name in inspect.signature(decorator).parameters}
    assert parameters - {"self", "misplaced", "args", "kwargs"} == set(TASK_PARAMETERS)


def test_the_decorator_has_the_documentation_of_each_policy() -> None:
    shown = documented(Pyncette.task)
    assert {name: shown.get(name) for name in POLICIES} == {name: known.doc for name, known in POLICIES.items()}


@pytest.mark.parametrize("function", [Pyncette.task, *FOR_INSTANCES], ids=lambda function: function.__name__)
def test_every_parameter_is_documented(function: Callable[..., Any]) -> None:
    assert list(documented(function)) == [
        name for name in inspect.signature(function).parameters if name not in ("self", "misplaced")
    ]


def documented(function: Callable[..., Any]) -> dict[str, str]:
    """The text of each `:param:` of a docstring, on one line."""
    text = inspect.getdoc(function) or ""
    found = re.findall(r"^:param (\w+): (.*(?:\n {4}.*)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", words) for name, words in found}


def test_the_app_takes_each_option_of_the_loop() -> None:
    of_app, of_create = (inspect.signature(function).parameters for function in (Pyncette, Pyncette.create))
    loop = {field.name: field for field in dataclasses.fields(LoopOptions)}
    explicit = [name for name, it in of_app.items() if it.kind is inspect.Parameter.KEYWORD_ONLY]
    assert explicit == list(loop)
    hints = get_type_hints(Pyncette.__init__)
    assert {name: (of_app[name].default, hints[name]) for name in loop if name != "clock"} == {
        name: (field.default, get_type_hints(LoopOptions)[name]) for name, field in loop.items() if name != "clock"
    }
    assert [name for name in of_create if name not in ("self", "fixtures")] == list(of_app)
    overriding = get_type_hints(Pyncette.create)
    for name in of_app:
        if name != "options":
            assert of_create[name].default is None
            assert overriding[name] == hints[name] | None


def test_options_of_the_app_are_documented() -> None:
    assert list(documented(Pyncette)) == list(inspect.signature(Pyncette).parameters)
    shown = {name: words.removesuffix(".") for name, words in documented(Pyncette).items()}
    of_loop = re.findall(r"^:ivar (\w+): (.*(?:\n {4}.*)*)", inspect.getdoc(LoopOptions) or "", re.MULTILINE)
    assert [name for name, _ in of_loop] == [field.name for field in dataclasses.fields(LoopOptions)]
    for name, words in of_loop:
        assert shown[name].startswith(re.sub(r"\s+", " ", words).removesuffix("."))


def report(context: Context, number: int = 1) -> None: ...


def test_the_innermost_function_of_bound_methods() -> None:
    assert _innermost(types.MethodType(functools.partial(report), object())) is report
    assert _innermost(len) is len


def test_callables_without_a_signature_have_no_parameters() -> None:
    assert _parameters(object()) == ()  # type: ignore[arg-type] # what users pass by mistake


def test_an_import_error_within_the_package_is_not_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("pyncette._tasks.converting", raising=False)
    monkeypatch.setitem(sys.modules, "pyncette._tasks.converting", None)
    with pytest.raises(ImportError, match="converting"):
        Pyncette().dynamic_task(name="report")(report)


def test_a_fixture_is_found_among_several_and_shown() -> None:
    def first() -> None: ...
    def second() -> None: ...

    wanted = FromFixture(second)
    assert wanted.name_among({"a": first, "b": second}, "parameter") == "b"
    assert [repr(each) for each in (wanted, FromFixture("b"), FromFixture(None))] == [
        "from_fixture(second)",
        "from_fixture('b')",
        "from_fixture()",
    ]
