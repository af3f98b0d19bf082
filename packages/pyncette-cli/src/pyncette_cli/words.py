"""A cron expression in words."""

from __future__ import annotations

import contextlib


def in_words(expression: str) -> str:
    """What an expression says, in English; nothing if it can't be said.

    The library has seconds first, and Pyncette has them last.
    """
    from cron_descriptor import ExpressionDescriptor, Options
    from cron_descriptor.Exception import FormatException, MissingFieldException, WrongArgumentException

    fields = expression.split()
    if len(fields) in (6, 7):
        fields = [fields[5], *fields[:5], *fields[6:]]
    options = Options()
    options.use_24hour_time_format = True
    with contextlib.suppress(FormatException, MissingFieldException, WrongArgumentException, ValueError, IndexError):
        return str(ExpressionDescriptor(" ".join(fields), options).get_description())
    return ""
