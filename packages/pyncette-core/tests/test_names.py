from __future__ import annotations

import datetime
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette import Context, Pyncette
from pyncette._tasks.names import check_name, escape, is_reserved, join, partition_of, static_queue, task_of

_MINUTE = datetime.timedelta(minutes=1)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


def test_partitions_never_change() -> None:
    assert partition_of(10**12, "Lorem ipsum dolor sit amet") == 222413034928


@given(st.integers(1, 10**6), TEXT)
def test_partition_by_its_definition(count: int, name: str) -> None:
    digest = int.from_bytes(hashlib.sha1(name.encode()).digest(), "big")  # noqa: S324 - not for security
    assert partition_of(count, name) == digest * count // 2**160
    assert 0 <= partition_of(count, name) < count


@given(TEXT.filter(lambda t: not t.endswith(":")), TEXT, TEXT.filter(lambda t: not t.endswith(":")), TEXT)
def test_different_instances_have_different_canonical_names(a: str, x: str, b: str, y: str) -> None:
    if (a, x) != (b, y):
        assert join(escape(a), escape(x)) != join(escape(b), escape(y))


def test_a_colon_is_doubled() -> None:
    app = Pyncette()

    @app.dynamic_task(name="a:b")
    async def template(context: Context) -> None: ...

    @app.partitioned_task(name="p", partition_count=1)
    async def partitioned(context: Context) -> None: ...

    assert template.instantiate("c:d", interval=_MINUTE).canonical_name == "a::b:c::d"
    assert partitioned.instantiate("x", interval=_MINUTE).canonical_name == "p:0:x"
    assert template.name_in("a::b:c::d") == "c:d"


@pytest.mark.parametrize(
    "name, says",
    [(5, "must be a string"), ("a\0b", "NUL"), ("\ud800", "lone surrogate"), (None, "must be a string")],
)
def test_impossible_names(name: object, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        check_name(name)


def test_a_canonical_name_has_at_most_1024_bytes() -> None:
    app = Pyncette()

    @app.dynamic_task(name="t")
    async def template(context: Context) -> None: ...

    assert template.instantiate("é" * 511, interval=_MINUTE)
    with pytest.raises(ValueError, match="takes 1,026 bytes of UTF-8; at most 1,024"):
        template.instantiate("é" * 512, interval=_MINUTE)
    assert app.task(name="x" * 1016, interval=_MINUTE)(template)
    with pytest.raises(ValueError, match="takes 1,025 bytes of UTF-8; at most 1,024"):
        app.task(name="x" * 1017, interval=_MINUTE)(template)


@given(TEXT.filter(lambda t: t and not t.endswith(":")), st.integers(0, 9))
def test_queue_names_reveal_name_and_kind(name: str, number: int) -> None:
    queues = [static_queue(escape(name)), escape(name), join(escape(name), str(number))]
    assert [task_of(queue) for queue in queues] == [
        (name, "static", None),
        (name, "dynamic", None),
        (name, "partitioned", number),
    ]
    assert len(set(queues)) == 3
    assert not any(map(is_reserved, queues))


def test_reserved_queues() -> None:
    assert all(map(is_reserved, [":control", ":workers", ":static"]))
    assert task_of(static_queue(escape("static:"))) == ("static:", "static", None)
    assert task_of(escape(":static:a")) == (":static:a", "dynamic", None)


def test_a_damaged_name_that_is_stored_can_be_shown() -> None:
    assert join("task", "\udcff") == "task:\udcff"


def test_a_colon_without_a_partition_number() -> None:
    assert task_of("a:b") == ("a:b", "dynamic", None)


def test_an_instance_is_of_the_kind_of_its_template() -> None:
    app = Pyncette()

    @app.dynamic_task()
    async def template(context: Context) -> None: ...

    @app.task(interval=_MINUTE)
    async def static(context: Context) -> None: ...

    assert template.instantiate("a", interval=_MINUTE).kind == template.kind == "dynamic"
    assert static.kind == "static"
