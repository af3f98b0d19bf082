"""The whole suite of app tests."""

from __future__ import annotations

from .app.arguments import ArgumentContract
from .app.backfilling import BackfillContract
from .app.changing_kind import KindContract
from .app.damaged import DamageContract
from .app.deciding import DecisionContract
from .app.failing import FailureContract
from .app.faulty import FaultContract
from .app.inventory import InventoryContract
from .app.leasing import LeaseContract
from .app.limiting import LimitContract
from .app.listing import ListingContract
from .app.logging import HistoryContract
from .app.occurring import OccurrenceContract
from .app.operating import OperatingContract
from .app.pausing import PausingContract
from .app.recomputing import RecomputeContract
from .app.redefining import RedefinitionContract
from .app.renewing import RenewalContract
from .app.retrying import RetryContract
from .app.scheduling import SchedulingContract
from .app.sharing import SharingContract
from .app.steering import SteeringContract
from .app.triggering import TriggerContract
from .app.updating import UpdateContract


class AppContract(
    OccurrenceContract,
    FailureContract,
    RetryContract,
    LimitContract,
    DecisionContract,
    LeaseContract,
    RenewalContract,
    SchedulingContract,
    ArgumentContract,
    UpdateContract,
    ListingContract,
    HistoryContract,
    PausingContract,
    SteeringContract,
    TriggerContract,
    BackfillContract,
    RecomputeContract,
    OperatingContract,
    InventoryContract,
    RedefinitionContract,
    KindContract,
    SharingContract,
    FaultContract,
    DamageContract,
):
    """What an app promises, on a repository, in virtual time.

    Subclass it as :class:`RepositoryContract`, with the same fixture and capabilities, or inherit both.
    """
