"""The whole suite of repository tests."""

from __future__ import annotations

from .agreeing import AgreementContract
from .bounding import BoundContract
from .cancelling import CancellationContract
from .claiming import ClaimContract
from .exact import ExactContract
from .keeping import KeepingContract
from .listing import ListContract
from .living import LifeContract
from .logging_runs import RunLogContract
from .looking import LookContract
from .model import ModelContract
from .parts import PartContract
from .reading import ReadContract
from .scanning import ScanContract
from .scanning_ready import ReadyContract
from .swapping import SwapContract
from .transacting import TransactionContract


class RepositoryContract(
    LifeContract,
    ReadContract,
    SwapContract,
    ReadyContract,
    ScanContract,
    ListContract,
    ClaimContract,
    LookContract,
    KeepingContract,
    ExactContract,
    BoundContract,
    RunLogContract,
    PartContract,
    TransactionContract,
    AgreementContract,
    CancellationContract,
    ModelContract,
):
    """Everything that a repository promises.

    Subclass it as ``Test…``, override the fixture ``repository_factory``, and say in ``capabilities`` what the store
    can do. The event loops are those of the fixture ``anyio_backend`` of anyio's pytest plugin, asyncio and trio
    unless it is overridden.
    """
