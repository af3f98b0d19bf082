"""Which steps a store needs, for every pair of releases and every point at which an upgrade may be killed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette.errors import RepositoryException, StorageVersionException
from pyncette.migrations import (
    COLUMNS_OF_PYNCETTE_1,
    Format,
    Migration,
    Phase,
    TableSchema,
    by_hand,
    filled,
    newest,
    plan,
)


def release(version: int) -> list[Migration[None]]:
    """All steps that the release with this format knows; the first format only expands."""
    steps = [Migration(1, Phase.EXPAND, "1 expand", None)]
    for number in range(2, version + 1):
        steps.append(Migration(number, Phase.EXPAND, f"{number} expand", None))
        steps.append(Migration(number, Phase.CONTRACT, f"{number} contract", None))
    return steps


def names(stored: Format | None, version: int, *, finish: bool) -> list[str]:
    return [each.name for each in plan(stored, release(version), finish=finish, where="W", distribution="D")]


@pytest.mark.parametrize(
    "stored, version, finish, expected",
    [
        (None, 1, False, ["1 expand"]),
        (None, 3, False, ["1 expand", "2 expand", "2 contract", "3 expand", "3 contract"]),
        (Format(1, 1), 1, False, []),
        (Format(1, 1), 1, True, []),
        (Format(1, 1), 2, False, ["2 expand"]),
        (Format(1, 1), 2, True, ["2 expand", "2 contract"]),
        (Format(2, 1), 2, False, []),
        (Format(2, 1), 2, True, ["2 contract"]),
        (Format(2, 2), 2, True, []),
        (Format(2, 1), 1, False, []),  # a later release is being rolled out, or was rolled back
        (Format(2, 1), 1, True, []),
        (Format(1, 1), 3, False, ["2 expand", "3 expand"]),
        (Format(3, 1), 3, True, ["2 contract", "3 contract"]),
    ],
)
def test_steps(stored: Format | None, version: int, finish: bool, expected: list[str]) -> None:
    assert names(stored, version, finish=finish) == expected


class Schema(TableSchema[str]):
    backend = "madeup"


def test_the_schema_of_a_table() -> None:
    steps = [Migration(1, Phase.EXPAND, "1 expand", " CREATE {table}; CREATE {runs} ON {table};\n")]
    schema = Schema("tasks", steps)
    assert schema.pending(None, "db", finish=False) == steps
    assert schema.pending(Format(1, 1), "db", finish=True) == []
    with pytest.raises(StorageVersionException, match=r"The table tasks \(db\) has .* release of pyncette-madeup"):
        schema.pending(Format(2, 2), "db", finish=False)
    assert filled(steps[0], {"table": "t", "runs": "r"}) == "CREATE t; CREATE r ON t;"


def test_skipping_table_creation_asks_for_manual_steps() -> None:
    schema = Schema("tasks", [Migration(1, Phase.EXPAND, "1 expand", ""), Migration(2, Phase.EXPAND, "2 expand", "")])
    assert schema.pending(Format(2, 1), "db", finish=True, skip=True) == []
    with pytest.raises(RepositoryException) as nothing:
        schema.pending(None, "db", finish=False, skip=True)
    assert str(nothing.value) == (
        "There is no table tasks (db), and it must not be created: run what pyncette.madeup.schema_sql('tasks') "
        "returns, or leave out madeup_skip_table_create."
    )
    with pytest.raises(StorageVersionException) as older:
        schema.pending(Format(1, 1), "db", finish=False, skip=True)
    assert str(older.value) == (
        "The table tasks (db) has format 1, this release of pyncette-madeup needs format 2: run what "
        "pyncette.madeup.schema_sql('tasks', from_format=1) returns, or leave out madeup_skip_table_create."
    )


def test_a_table_is_recognised_by_its_comment() -> None:
    schema = Schema("tasks", [Migration(2, Phase.EXPAND, "2 expand", "")])

    def recognised(comment: str | None, *columns: str) -> Format:
        return schema.recognised(comment, columns, "db", rename="RENAME tasks", restore="COMMENT tasks")

    assert recognised(Format(3, 2).mark, "key", *COLUMNS_OF_PYNCETTE_1) == Format(3, 2)
    with pytest.raises(StorageVersionException) as first:
        recognised(None, "id", *COLUMNS_OF_PYNCETTE_1)
    assert str(first.value) == (
        "The table tasks (db) was written by Pyncette 1.x, and this release can't read it. It was left as it is. Give "
        "another madeup_table_name, or rename the old table first: RENAME tasks. Then schedule the instances again."
    )
    with pytest.raises(StorageVersionException) as other:
        recognised("Orders.", *(COLUMNS_OF_PYNCETTE_1 - {"name"}))
    assert str(other.value) == (
        "tasks (db) is there, but its comment does not say that it is a table of Pyncette. It was left as it is. Give "
        "another madeup_table_name. If the table is Pyncette's and only the comment was lost, as in a dump without "
        f"comments, restore it: COMMENT tasks '{Format(2, 2).mark}'"
    )


@pytest.mark.parametrize("finish", [False, True])
def test_unreadable_formats_are_refused(finish: bool) -> None:
    with pytest.raises(StorageVersionException, match=r"W has format 3.*from format 2 on.*up to 1.*Upgrade D"):
        names(Format(3, 2), 1, finish=finish)


@given(st.integers(1, 5), st.booleans(), st.data())
def test_a_kill_between_steps_loses_nothing(version: int, finish: bool, data: st.DataObject) -> None:
    """However often it is killed, in the end all steps have been done, each once, and the recorded format is right."""
    steps = release(version)
    stored: Format | None = None
    if data.draw(st.booleans()):
        older = data.draw(st.integers(1, version))
        stored = Format(older, older)
    done: list[str] = []
    while pending := plan(stored, steps, finish=finish, where="", distribution=""):
        for each in pending[: data.draw(st.integers(1, len(pending)))]:
            stored = each.after(stored)
            done.append(each.name)
    assert stored is not None
    assert len(set(done)) == len(done)
    assert stored.written_by == version == newest(steps)
    assert stored.readable_from <= stored.written_by
    if finish:
        assert stored.readable_from == version


def test_listing_steps_to_run_manually() -> None:
    """Each step comes with the format that the store has before it."""
    found = [(each.name, stored) for each, stored in by_hand(1, release(2), contract=True)]
    assert found == [("2 expand", Format(1, 1)), ("2 contract", Format(2, 1))]
    assert [each.name for each, _ in by_hand(1, release(2), contract=False)] == ["2 expand"]
    assert [stored for _, stored in by_hand(0, release(2), contract=True)] == [None, Format(1, 1), Format(2, 1)]
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=f"from_format must be from 0 to 2, not {wrong}"):
            by_hand(wrong, release(2), contract=True)


@pytest.mark.parametrize("stored", [Format(1, 1), Format(12, 3)])
def test_the_mark_of_a_format(stored: Format) -> None:
    """The text must not change: tables in use have it."""
    expected = f"Tasks of Pyncette, format {stored.written_by}, readable from {stored.readable_from}. "
    assert stored.mark == expected + "Pyncette reads this; keep it."
    assert Format.marked(stored.mark) == stored
    assert Format.marked(f"{stored.mark} Owner: the shop.") == stored


@pytest.mark.parametrize("comment", [None, "", "orders", "My Tasks of Pyncette, format 1, readable from 1."])
def test_other_comments(comment: str | None) -> None:
    assert Format.marked(comment) is None
