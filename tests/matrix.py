"""pytest plugin: which tests of the contracts run on which stores and event loops, and how many examples they try.

Both contracts run on both event loops for each store. A variant of a store, such as another make of its server,
passes the contract of repositories on one event loop: what runs above that is the same code once more. `one_loop` is
for stores on which the contract of apps takes long. `--thorough` runs all.
`--narrow` runs the contract of apps in memory only, for versions of Python and of dependencies other than the usual.
"""

from __future__ import annotations

from typing import Any

import pytest

EXAMPLES = 15
"""Of a property in the contracts, instead of the number that authors of backends get."""
ONE_BY_ONE = (
    "tests/scenarios/",
    "tests/examples/",
    "tests/servers_test/",
    "tests/chaos/test_chaos.py",
    "tests/endurance/",
)
THOROUGH = 600
"""Of a property elsewhere, instead of hypothesis' 100."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pyncette")
    group.addoption(
        "--thorough",
        action="store_true",
        help="both contracts on both event loops for variants of stores too, and the full number of examples",
    )
    group.addoption("--narrow", action="store_true", help="the contract of apps in memory only")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "one_loop: the contract of apps runs on asyncio only unless --thorough")
    if config.option.thorough:
        from hypothesis import settings

        settings.register_profile("thorough", max_examples=THOROUGH)
        settings.load_profile("thorough")
    config.addinivalue_line(
        "markers", "variant: another make or set-up of a store; passes only part of the contracts unless --thorough"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.thorough or not any(item.get_closest_marker("anyio") for item in items):
        return
    from pyncette.testing.contract.base import ContractBase

    ContractBase.property_examples = min(EXAMPLES, ContractBase.property_examples)
    ContractBase.quick = True  # a store on which the full forms take no time says so itself
    kept = [item for item in items if not item.get_closest_marker("variant") or is_kept(item)]
    kept = [
        item for item in kept if not (item.get_closest_marker("one_loop") and is_on_trio(item) and is_of_apps(item))
    ]
    if config.option.narrow:
        kept = [item for item in kept if "pyncette-core" in item.path.parts or not is_of_apps(item)]
    chosen = set(kept)
    if dropped := [item for item in items if item not in chosen]:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """pytest-xdist: a class stays in one process, but its event loops may be in two. The longest contract is long.

    Tests that each take seconds and share nothing are given out one by one, so that no process has them all in the end.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByLoop(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(ONE_BY_ONE):
                return nodeid
            scope: str = super()._split_scope(nodeid)
            return f"{scope} on trio" if "[trio" in nodeid else scope

    return ByLoop(config, log) if config.option.dist == "loadscope" else None


def is_kept(item: pytest.Item) -> bool:
    """Whether a variant runs this test: one of the contract of repositories, on asyncio or on no event loop."""
    from pyncette.testing import RepositoryContract

    assert isinstance(item, pytest.Function)
    return hasattr(RepositoryContract, item.originalname) and not is_on_trio(item)


def is_on_trio(item: pytest.Item) -> bool:
    return hasattr(item, "callspec") and item.callspec.params.get("anyio_backend") == "trio"


def is_of_apps(item: pytest.Item) -> bool:
    """Whether it is a test of the contract of apps."""
    from pyncette.testing import AppContract, RepositoryContract

    name = getattr(item, "originalname", "")
    return item.parent is not None and hasattr(AppContract, name) and not hasattr(RepositoryContract, name)
