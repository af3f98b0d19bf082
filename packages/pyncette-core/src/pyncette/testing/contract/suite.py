"""The whole suite of repository tests."""

from __future__ import annotations

from .cancelling import CancellationContract
from .claiming import ClaimContract
from .due import DueContract
from .keeping import KeepingContract
from .living import LifeContract
from .model import ModelContract
from .next_ready import NextReadyContract
from .racing import RaceContract
from .reading import ReadContract
from .scanning import ScanContract
from .swapping import SwapContract


class RepositoryContract(
    LifeContract,
    ReadContract,
    SwapContract,
    DueContract,
    ScanContract,
    ClaimContract,
    NextReadyContract,
    KeepingContract,
    RaceContract,
    CancellationContract,
    ModelContract,
):
    """Everything that a repository promises.

    Subclass it as ``Test…``, override the fixture ``repository_factory``, and say in ``capabilities`` what the store
    can do. The event loops are those of the fixture ``anyio_backend`` of anyio's pytest plugin, asyncio and trio
    unless it is overridden.
    """
