"""For the tests of applications and of backends.

:class:`ManualClock` and the faults need nothing but Pyncette. The contract suite needs the extra ``testing``
(pytest, hypothesis and trio), and is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import Capabilities
from .clock import ManualClock
from .faults import Call, Fault, FaultPlan, FaultyRepository, cancel_at, delay, fail, lose_reply, refuse

if TYPE_CHECKING:
    from .cancellation import cancel_everywhere
    from .contract import SECRET, Addresses, AppContract, Caller, RepositoryContract, make_record, make_static_record

__all__ = [
    "SECRET",
    "Addresses",
    "AppContract",
    "Call",
    "Caller",
    "Capabilities",
    "Fault",
    "FaultPlan",
    "FaultyRepository",
    "ManualClock",
    "RepositoryContract",
    "cancel_at",
    "cancel_everywhere",
    "delay",
    "fail",
    "lose_reply",
    "make_record",
    "make_static_record",
    "refuse",
]

_CONTRACTS = ("AppContract", "RepositoryContract", "Addresses", "Caller", "SECRET", "make_record", "make_static_record")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in _CONTRACTS:
        from . import contract

        return getattr(contract, name)
    if name == "cancel_everywhere":
        from .cancellation import cancel_everywhere

        return cancel_everywhere
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
