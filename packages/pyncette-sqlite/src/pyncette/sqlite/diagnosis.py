"""What operators learn about the database: integrity, disk space, and what keeps it from shrinking."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path

from pyncette.errors import RepositoryException
from pyncette.findings import Finding, format_found

from .errors import primary_code
from .schema import migrations, stored_format
from .settings import Settings

CHECKING = 5.0
"""Seconds that the check of the file may take."""

LITTLE = 100 * 2**20
"""Free disk space is reported if it is less than this number of bytes."""

FREE = 10 * 2**20
"""Free space within the file is reported from this number of bytes on, if it is more than half of the file."""

LARGE_LOG = 64 * 2**20
"""The write-ahead log is reported from this number of bytes on. At 16 MB it is overwritten from its beginning, unless a
reader still needs what is there."""

_STEPS = 10_000


def diagnose(settings: Settings, connection: sqlite3.Connection) -> list[Finding]:
    """All checks, on a separate connection."""
    found = [Finding("server", "ok", f"SQLite {sqlite3.sqlite_version}"), _integrity(settings, connection)]
    stored = stored_format(settings, connection.cursor(), f"Table {settings.table!r} in {settings.database!r}")
    if stored is not None:
        found.append(format_found(stored, migrations()))
    found.append(_bloat(connection))
    if settings.in_memory:
        found.append(Finding("persistence", "warning", "in memory: it is lost with the process", "give a file"))
        return found
    try:
        settings.check_path()
    except RepositoryException as error:
        found.append(Finding("permissions", "problem", str(error), "let the user of the app write there"))
    else:
        found.append(Finding("permissions", "ok", "the file and its folder may be written to"))
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    found.append(Finding("persistence", "ok", f"each commit is on the disk (journal mode {mode})"))
    return [*found, _room(settings), _log(settings)]


def _integrity(settings: Settings, connection: sqlite3.Connection) -> Finding:
    """Whether tables and indexes agree. For a large file, the check takes too long and is cut short."""
    end = time.monotonic() + CHECKING
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        told = [text for (text,) in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.Error as error:
        if primary_code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        advice = f"sqlite3 {settings.database} 'PRAGMA integrity_check'"
        return Finding("indexes", "unknown", f"the file is too large to be checked in {CHECKING:g} s", advice)
    finally:
        connection.set_progress_handler(None, 0)
    if told == ["ok"]:
        return Finding("indexes", "ok", "the file is whole, and its indexes are complete")
    return Finding("indexes", "problem", "; ".join(told), f"sqlite3 {settings.database} REINDEX, or restore a backup")


def _bloat(connection: sqlite3.Connection) -> Finding:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    found = f"{pages * size / 2**20:,.1f} MB, {free * size / 2**20:,.1f} MB of it empty"
    if free * size > FREE and free > pages / 2:
        return Finding("bloat", "warning", found, "VACUUM, while no app runs")
    return Finding("bloat", "ok", found)


def _room(settings: Settings) -> Finding:
    free = shutil.disk_usage(Path(settings.database).absolute().parent).free
    found = f"{free / 2**30:,.1f} GB free"
    if free < LITTLE:
        return Finding("disk", "warning", found, "make room: when it is full, nothing is executed")
    return Finding("disk", "ok", found)


def _log(settings: Settings) -> Finding:
    log = Path(f"{settings.database}-wal")
    size = log.stat().st_size if log.exists() else 0
    found = f"the write-ahead log takes {size / 2**20:,.1f} MB"
    if size > LARGE_LOG:
        advice = "end what reads in one long transaction, such as an open sqlite3 shell or a backup"
        return Finding("transactions", "warning", f"{found}: an old state is being read", advice)
    return Finding("transactions", "ok", found)
