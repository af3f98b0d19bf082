"""pytest plugin: which tests of the contracts run on which stores and event loops, and how many examples they try.

In memory, both contracts run on both event loops. Each store runs the whole contract of repositories, with each test on
one event loop, which a hash chooses. Each test of the contract of apps runs on two of the four fast stores, on one
event loop each, and a quarter of the tests run on DynamoDB: core was tested in memory and the drivers by the contract
of repositories, so only their combination is left to test. A variant of a store, such as another implementation of its
server, runs half of the contract of repositories on asyncio. `--thorough` runs all, and so does every night. `--narrow`
is for other versions of Python and of dependencies: the contract of apps runs in memory only, a third of the contract
of repositories on each store, and tests that don't depend on these versions are left out.
"""

from __future__ import annotations

import inspect
import zlib
from itertools import combinations
from pathlib import Path

import pytest

from tests.distribution import ONE_BY_ONE

LOOPS = ("asyncio", "trio")
QUICK = ("TestSqliteFile", "TestRedisContract", "TestPostgres", "TestMySQLContract")
"""Each test of the contract of apps runs on two of these stores."""
SLOW = {"TestDynamoDBContract": 4, "TestLagging": 4, "TestFile": 4}
"""Stores that run one in this many tests of the app contract: their tests take a second of CPU, or add little to those
elsewhere. The last one is the example of docs/writing_a_backend.md."""
VARIANTS = 2
"""Variants run one in this many tests of the repository contract."""
ON_ONE_LOOP = frozenset(
    f"test_{name}"
    for name in (
        "backlog",
        "herd",
        "histories",
        "killed_workers",
        "main",
        "model",
        "month",
        "partition_turns",
        "shares",
    )
)
"""Modules of core with long tests: each test runs on one event loop, which a hash chooses."""
EXAMPLES = 15
"""The number of examples of a property in the contracts, instead of the number that authors of backends get."""
WAITING_SECONDS = 600
"""Seconds after which a test that waits for other processes counts as hanging: on a busy machine, they are slow."""
ON_A_SERVER = ("plans", "places", "contention", "races", "locks", "capacity", "budget", "limits", "index", "processes")
STORED = ("damage", "diagnosis", "upgrade", "mysql_migrations")
SHOWN = ("page", "screens", "browser")
OF_PROCESSES = ("cli_run", "cli_cores", "cli_operations", "sqlite_running", "dynamodb_writes")
COMPUTED = ("transitions", "month")
SAME_ON_ALL_VERSIONS = (*ON_A_SERVER, *STORED, *SHOWN, *OF_PROCESSES, *COMPUTED)
"""The ends of names of modules that are left out. The remaining tests cover the pure modules."""
NARROW = 3
"""With ``--narrow``, a store runs one in this many tests of the repository contract."""
ELSEWHERE = 30
"""The number of examples of other properties, instead of hypothesis's 100; also with ``--narrow``, which measures
coverage."""
THOROUGH_SECONDS = 500
"""Seconds after which a full test of a contract counts as hanging."""
THOROUGH = 600


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pyncette")
    group.addoption(
        "--thorough",
        action="store_true",
        help="both contracts on both event loops for variants of stores too, and the full number of examples",
    )
    group.addoption("--narrow", action="store_true", help="only what depends on versions of Python and of dependencies")


def pytest_configure(config: pytest.Config) -> None:
    from hypothesis import HealthCheck, settings

    usual = settings().max_examples if config.option.narrow else ELSEWHERE
    examples = THOROUGH if config.option.thorough else usual
    slow = [HealthCheck.too_slow]  # on a busy machine, an example may take long
    settings.register_profile(
        "suite", parent=settings.default, deadline=None, suppress_health_check=slow, max_examples=examples
    )
    settings.load_profile("suite")
    config.addinivalue_line(
        "markers", "variant: another make or set-up of a store; passes only part of the contracts unless --thorough"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    narrow = config.option.narrow and "packages" in collection_path.parts
    return True if narrow and collection_path.stem.endswith(SAME_ON_ALL_VERSIONS) else None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str) -> list[pytest.Item] | None:
    """Leave out the tests that a class does not run: creating thousands of them just to deselect them takes long."""
    if not isinstance(collector, pytest.Class) or is_in_memory(collector) or not is_of_contract(collector.obj):
        return None
    option, store = collector.config.option, collector.obj.__name__
    if not name.startswith("test_"):
        return None
    is_variant = collector.get_closest_marker("variant") is not None
    if option.thorough:
        is_chosen = True
    elif is_of_apps(name):
        is_chosen = not option.narrow and not is_variant and runs_on(store, name)
    else:
        share = NARROW if option.narrow else VARIANTS if is_variant else 1
        is_chosen = zlib.crc32(f"{store}.{name}".encode()) % share == 0
    return None if is_chosen else []


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the event loop of tests that run on only one."""
    if metafunc.config.option.thorough or "anyio_backend" not in metafunc.fixturenames:
        return
    store, module = metafunc.cls, metafunc.module.__name__.rpartition(".")[2]
    if module in ON_ONE_LOOP:
        if metafunc.config.option.narrow:  # the caller chooses one
            return
        loop = loop_for(module, metafunc.function.__name__)
    elif not is_of_both_contracts(store) or is_in_memory(metafunc.definition):
        return
    elif metafunc.definition.get_closest_marker("variant"):
        loop = "asyncio"
    else:
        loop = loop_for(store.__name__, metafunc.function.__name__)
    metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", [loop]), append=False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        is_long = config.option.thorough or item.nodeid.startswith(ONE_BY_ONE)
        if is_long and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(WAITING_SECONDS))
    if not any(item.get_closest_marker("anyio") for item in items):
        return
    from pyncette.testing.contract.app import bench
    from pyncette.testing.contract.base import ContractBase

    if config.option.thorough:  # on a busy machine, a sixth of the decision table takes minutes on DynamoDB
        ContractBase.deadline = bench.TIMEOUT = THOROUGH_SECONDS
    else:
        ContractBase.property_examples = min(EXAMPLES, ContractBase.property_examples)
        ContractBase.quick = True  # a store on which the full forms are fast overrides this
    for item in items:
        if isinstance(item, pytest.Function) and is_of_contract(item.cls) and forgets_a_loop(item):
            raise pytest.UsageError(
                f"{item.nodeid}: a store passes the contracts on both event loops, this one does not"
            )


def forgets_a_loop(item: pytest.Function) -> bool:
    """Whether the test belongs to a store, but not to a choice of event loops."""
    is_store = is_of_both_contracts(item.cls) and not item.get_closest_marker("variant")
    chosen = hasattr(item, "callspec") and "anyio_backend" in item.callspec.params
    return is_store and not chosen and inspect.iscoroutinefunction(item.obj)


def loop_for(store: str, test: str) -> str:
    """The event loop on which a store runs a test of the contracts."""
    if store in QUICK and is_of_apps(test):
        return LOOPS[(_pair(test).index(store) + zlib.crc32(test.encode()[::-1])) % len(LOOPS)]
    return LOOPS[(zlib.crc32(store.encode()) ^ zlib.crc32(test.encode())) % len(LOOPS)]


def runs_on(store: str, test: str) -> bool:
    """Whether a store runs a test of the contract of apps."""
    if store in QUICK:
        return store in _pair(test)
    return zlib.crc32(test.encode()[::-1]) // len(LOOPS) % SLOW.get(store, 1) == 0


def _pair(test: str) -> tuple[str, ...]:
    """The two quick stores that run a test of the contract of apps."""
    pairs = list(combinations(QUICK, 2))
    return pairs[zlib.crc32(test.encode()) % len(pairs)]


def is_in_memory(node: pytest.Collector | pytest.Item) -> bool:
    return "pyncette-core" in node.path.parts


def is_of_contract(cls: type | None) -> bool:
    """Whether a class runs a contract on a store."""
    from pyncette.testing.contract.base import ContractBase

    return cls is not None and issubclass(cls, ContractBase)


def is_of_both_contracts(cls: type | None) -> bool:
    """Whether a class runs both contracts: stores with an intentional fault run only one."""
    from pyncette.testing import AppContract

    return cls is not None and issubclass(cls, AppContract)


def is_of_apps(name: str) -> bool:
    """Whether a test of the contracts is one of the contract of apps."""
    from pyncette.testing import AppContract, RepositoryContract

    return hasattr(AppContract, name) and not hasattr(RepositoryContract, name)
