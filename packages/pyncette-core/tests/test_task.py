"""What a task says where it can't answer."""

from __future__ import annotations

import datetime

import pytest

from pyncette import Context, Pyncette


async def body(context: Context) -> None: ...


def test_a_template_is_stored_nowhere() -> None:
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
