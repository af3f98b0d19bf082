from __future__ import annotations

import pytest

from pyncette.record import Change, Record, Ref

RECORD = Record("task", "task:a", 0, 0, None, None, "r", 0, 0, "{}")


def test_refs_of_static_tasks_are_their_own_queue() -> None:
    assert Ref("static", "static").static
    assert not RECORD.ref.static


@pytest.mark.parametrize("change", [Change(None, RECORD), Change(RECORD, None), Change(RECORD, RECORD)])
def test_the_ref_of_a_change_is_that_of_its_records(change: Change) -> None:
    assert change.ref == Ref("task", "task:a")


def test_a_change_of_nothing() -> None:
    with pytest.raises(ValueError, match="an old record, a new one, or both"):
        _ = Change(None, None).ref
