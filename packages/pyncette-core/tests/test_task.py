"""The errors and texts of tasks."""

from __future__ import annotations

import datetime

import pytest

from pyncette import Context, Pyncette


async def body(context: Context) -> None: ...


def test_a_template_has_no_record() -> None:
    template = Pyncette().dynamic_task()(body)
    with pytest.raises(ValueError, match="'body' is a template of instances: name one of them as well"):
        _ = template.ref
    with pytest.raises(ValueError, match="'body' has no schedule"):
        template.new_spec()


def test_its_representation_names_it() -> None:
    template = Pyncette().dynamic_task()(body)
    instance = template.instantiate("a", interval=datetime.timedelta(minutes=1))
    assert repr(template) == "<Task 'body'>"
    assert repr(instance) == "<Task 'body:a'>"


def test_the_template_of_an_instance() -> None:
    """The declared task: itself, or that of an instance, even in a partition."""
    app = Pyncette()
    static = app.task(name="static", interval=datetime.timedelta(hours=1))(body)
    plain = app.dynamic_task(name="plain")(body)
    whole = app.partitioned_task(name="whole", partition_count=3)(body)
    execute_at = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    assert static.template is static
    assert plain.instantiate("a", execute_at=execute_at).template is plain
    assert whole.instantiate("a", execute_at=execute_at).template is whole
