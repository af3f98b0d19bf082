"""No test of the suite can be lost by accident, neither in a subclass nor in the suite itself."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from pyncette.testing import AppContract, RepositoryContract, contract
from pyncette.testing.contract.base import ContractBase, assert_same, contract_tests, missing_tests

ANY_TEST = "test_read_of_nothing"
SUITES = (RepositoryContract, AppContract)


async def replacement(self: object) -> None:
    """Overrides a test of the suite."""


def subclass(**members: Any) -> type:
    return type("TestMine", (RepositoryContract,), members)


def test_a_subclass_may_add_tests() -> None:
    assert missing_tests(subclass(test_more=replacement)) == []


@pytest.mark.parametrize("member", [None, replacement, property(lambda self: None)])
def test_a_test_can_not_be_deleted_or_overridden(member: object) -> None:
    with pytest.raises(TypeError, match=rf"TestMine leaves out .*: {ANY_TEST}\. .*xfail\(reason=\.\.\.\)"):
        subclass(**{ANY_TEST: member})


def test_the_whole_class_can_not_be_switched_off() -> None:
    with pytest.raises(TypeError, match="__test__"):
        subclass(__test__=False)


@pytest.mark.parametrize("mark", [pytest.mark.xfail, pytest.mark.xfail(reason=""), pytest.mark.skip(reason="no")])
def test_an_expected_failure_needs_a_reason(mark: pytest.MarkDecorator) -> None:
    async def marked(self: object) -> None:
        pass

    with pytest.raises(TypeError, match=ANY_TEST):
        subclass(**{ANY_TEST: mark(marked)})


def test_a_test_may_be_expected_to_fail() -> None:
    async def marked(self: object) -> None:
        pass

    assert missing_tests(subclass(**{ANY_TEST: pytest.mark.xfail(reason="no such store")(marked)})) == []


@pytest.mark.parametrize("suite", SUITES)
def test_a_subclass_replaces_nothing_by_accident(suite: type) -> None:
    """The suite's helpers are functions, not methods, as a store's test class may have a helper of the same name."""
    bases = [base for base in suite.__mro__ if base.__module__.startswith(contract.__name__)]
    assert ContractBase in bases
    private = {name for base in bases for name in vars(base) if name.startswith("_") and not name.startswith("__")}
    assert private == set()


async def test_a_test_that_goes_missing_later_is_noticed() -> None:
    late = subclass()
    setattr(late, ANY_TEST, None)
    with pytest.raises(AssertionError, match=ANY_TEST):
        await late().test_nothing_of_the_contract_is_left_out()


def test_a_grandchild_is_guarded_too() -> None:
    with pytest.raises(TypeError, match=ANY_TEST):
        type("TestTheirs", (subclass(),), {ANY_TEST: None})


def test_the_fixture_has_to_be_given() -> None:
    function = RepositoryContract.repository_factory
    with pytest.raises(NotImplementedError, match="TestMine has to define the fixture repository_factory"):
        function.__wrapped__(subclass()())  # type: ignore[attr-defined]  # pytest keeps the function there


def test_every_part_is_in_the_suite_and_no_name_is_used_twice() -> None:
    """A test that is shadowed by another of the same name would never run."""
    folder = Path(contract.__file__).parent
    names = [
        node.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert len(set(names)) == len(names)
    assert set(names) == {*contract_tests(RepositoryContract), *contract_tests(AppContract)}


def test_every_test_says_what_it_demands() -> None:
    assert [name for suite in SUITES for name, test in contract_tests(suite).items() if not test.__doc__] == []


def test_the_base_alone_has_only_the_guard() -> None:
    assert set(contract_tests(ContractBase)) == {"test_nothing_of_the_contract_is_left_out"}


def test_long_lists_differ_at_a_position() -> None:
    found, expected = list(range(2500)), [*range(2000), *range(2001, 2500)]
    with pytest.raises(AssertionError) as failure:
        assert_same(found, expected)
    assert str(failure.value) == (
        "2500 items, expected 2499. They differ first at position 2000:\nfound     2000\nexpected  2001"
    )
    with pytest.raises(AssertionError, match=r"position 2:\nfound     nothing\nexpected  2$"):
        assert_same([0, 1], [0, 1, 2])
    assert_same(found, list(found))
