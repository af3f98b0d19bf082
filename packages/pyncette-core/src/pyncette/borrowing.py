"""Why a connection can't be used that a caller passes as ``transaction``: what each backend with transactions says."""

from __future__ import annotations


def no_connection(given: object, database: str, instead: str) -> TypeError:
    """It is something else.

    :param database: such as ``"PostgreSQL"``.
    :param instead: what to pass.
    """
    kind = type(given)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return TypeError(f"{name} is no transaction on {database}: pass {instead}.")


def is_closed() -> ValueError:
    """It was closed, or given back to its pool."""
    return ValueError("The connection passed as transaction= is closed: make the call before it is.")


def has_none(begin: str) -> ValueError:
    """It commits each statement.

    :param begin: what to write to open a transaction on it.
    """
    return ValueError(
        "No transaction is open on the connection passed as transaction=, which commits each statement: "
        f"{begin}, or leave transaction out."
    )


def leads_elsewhere(where: str, remedy: str) -> ValueError:
    """It is one to another database, or finds another table there.

    :param where: the storage, for people to read.
    :param remedy: what to do.
    """
    return ValueError(
        f"The connection passed as transaction= does not lead to {where}, where the storage is: {remedy}."
    )
