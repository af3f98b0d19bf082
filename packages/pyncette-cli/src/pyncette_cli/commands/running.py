"""Runs an app, in this process or in several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from pyncette_cli import logs
from pyncette_cli.failures import Failure, Status
from pyncette_cli.lifeline import Supervised
from pyncette_cli.options import debug_option, debugging


@click.command("run")
@click.argument("app_path", metavar="MODULE:NAME", envvar="PYNCETTE_APP")
@click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="How many processes.")
@click.option("--loop", type=click.Choice(["asyncio", "uvloop", "trio"]), help="The event loop; asyncio by default.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--reload", is_flag=True, help="Restart when a Python file below this folder changes, for development.")
@click.option("--supervised", hidden=True)
@debug_option
def run_command(
    app_path: str, workers: int, loop: str | None, log_format: str, reload: bool, supervised: str | None
) -> int:
    """Run the app MODULE:NAME until it is told to stop.

    The first SIGINT (Ctrl-C), SIGTERM or SIGHUP stops it gracefully, the second at once. With --workers each process
    executes tasks on a core of its own, and is started again if it ends. The variable LOG_LEVEL sets the level of the
    log.

    \b
    Examples:
      pyncette run tasks:app
      pyncette run package.tasks:app --workers 4 --log-format json
      pyncette run tasks:app --reload
      pyncette run 'tasks:make_app()' --loop uvloop
    """
    if supervised is not None:
        worker = Supervised.parse(supervised)
        worker.watch()
        return _work(app_path, loop, log_format, worker)
    if workers == 1 and not reload:
        return _work(app_path, loop, log_format, None)
    return _supervise(app_path, workers, loop, log_format, reload=reload)


def _work(app_path: str, loop: str | None, log_format: str, worker: Supervised | None) -> int:
    from pyncette_cli import apps
    from pyncette_cli.readiness import Ready

    logs.set_up(log_format, None if worker is None else worker.number)
    app = apps.load(app_path)
    if worker is not None:
        app.use_observer(Ready(worker))
    if loop is not None:
        os.environ["USE_UVLOOP"] = "1" if loop == "uvloop" else "0"
    try:
        app.main(backend="trio" if loop == "trio" else "asyncio")
    except SystemExit as e:
        return _status(e)
    return Status.OK


def _status(ended: SystemExit) -> int:
    """The status that the app ends with; what it says is said here."""
    code: Any = ended.code
    if code is None or isinstance(code, int):
        return code or Status.OK
    raise Failure(str(code))


def _supervise(app_path: str, workers: int, loop: str | None, log_format: str, *, reload: bool) -> int:
    import anyio

    from pyncette_cli.supervisor import Supervisor, worker_command
    from pyncette_cli.watching import Watcher

    logs.set_up(log_format, 0)
    options = ["--log-format", log_format, *(["--loop", loop] if loop else []), *(["--debug"] if debugging() else [])]

    async def supervise() -> int:
        watcher = Watcher(Path.cwd()) if reload else None
        return await Supervisor(worker_command(app_path, options), workers, watcher).run()

    return anyio.run(supervise)
