"""Celery with RedBeat: beat in a separate process, and a worker that executes tasks in its own."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from celery import Celery
from celery.schedules import schedule
from measuring import run
from redbeat import RedBeatSchedulerEntry

app = Celery("with_redbeat", broker=run.url)
app.conf.update(
    worker_redirect_stdouts=False,
    redbeat_redis_url=run.url,
    beat_max_loop_interval=1,
    task_ignore_result=True,
    redbeat_lock_key=None,
)


@app.task(name="fire")
def fire(due: float) -> None:
    if run.fired(due):
        beat.terminate()
        beat.wait()
        run.leave()


def main() -> None:
    global beat  # noqa: PLW0603 -- the task ends it
    for number, at in enumerate(run.moments()):
        entry = RedBeatSchedulerEntry(
            f"job {number}", "fire", schedule(timedelta(hours=1)), args=[at.timestamp()], app=app
        )
        entry.last_run_at = at - timedelta(hours=1)
        entry.save()
    run.begin()
    beat = subprocess.Popen([sys.executable, __file__, *sys.argv[1:4], "beat"], cwd=Path(__file__).parent)
    app.worker_main(
        ["worker", "--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"]
    )


if __name__ == "__main__":
    if sys.argv[4:] == ["beat"]:
        app.start(["beat", "-S", "redbeat.RedBeatScheduler", "-l", "ERROR", "-s", "/dev/null", "--pidfile="])
    else:
        main()
