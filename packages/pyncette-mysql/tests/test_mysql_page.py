"""The documentation of the table, the options and the limits matches the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from pyncette.mysql import codec, connection, mysql_repository, schema, schema_sql, statements
from pyncette.mysql.codec import Dialect

PAGE = Path(__file__).resolve().parents[3] / "docs" / "backends" / "mysql.md"


def test_the_page() -> None:
    page = PAGE.read_text("utf-8")
    assert schema_sql() in page
    options = dict(re.findall(r"(?m)^\| `((?:mysql|finish)_\w+)` \|\s*(?:`([^`]*)`)?\s*\|", page))
    parameters = inspect.signature(mysql_repository).parameters
    assert options.keys() == parameters.keys()
    defaults = {name: repr(p.default).replace("'", '"') for name, p in parameters.items() if p.default is not p.empty}
    assert {name: text for name, text in options.items() if text} == defaults
    oldest = {dialect: ".".join(map(str, numbers)) for dialect, numbers in schema._OLDEST.items()}
    assert f"MySQL {oldest[Dialect.MYSQL]} or newer, or MariaDB {oldest[Dialect.MARIADB][:-2]} or newer" in page
    assert f"More than {codec.ROWS} changes or 4 MB" in page
    assert f"names {statements.MANY_PARTS} or more dynamic tasks" in page
    assert f"idle for {connection.TESTED_WHEN_IDLE_SECONDS:.0f} s" in page
    assert f"after {connection.CALL_SECONDS:.0f} s" in page
