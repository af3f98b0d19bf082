"""The contract suite: subclass it in a test module, give a fixture, and run pytest."""

from __future__ import annotations

import pkgutil

try:
    import hypothesis as _hypothesis  # noqa: F401 - fails early if it is missing
    import pytest
except ImportError as _error:
    raise ImportError(
        f"The contract suite needs {_error.name}. Install the extra: pip install 'pyncette-core[testing]'"
    ) from _error

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from .app_suite import AppContract  # noqa: E402 - after the registration of assertion rewriting
from .base import record as make_record  # noqa: E402 - see above
from .base import static as make_static_record  # noqa: E402 - see above
from .parts import SECRET, Addresses  # noqa: E402 - see above
from .suite import RepositoryContract  # noqa: E402 - after the registration of assertion rewriting
from .transacting import Caller  # noqa: E402 - see above

__all__ = ["SECRET", "Addresses", "AppContract", "Caller", "RepositoryContract", "make_record", "make_static_record"]
