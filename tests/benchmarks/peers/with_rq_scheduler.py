"""rq-scheduler, in a thread alongside a worker that executes jobs in its own process; no results are kept."""

from __future__ import annotations

import threading

from measuring import fire, run
from redis import Redis
from rq import Queue, SimpleWorker
from rq_scheduler import Scheduler

connection = Redis.from_url(run.url)
queue = Queue("bench", connection=connection)
scheduler = Scheduler(queue=queue, connection=connection, interval=1)
for at in run.moments():
    scheduler.enqueue_at(at.replace(tzinfo=None), fire, at.timestamp(), job_result_ttl=0)


def enqueue() -> None:
    while True:
        scheduler.enqueue_jobs()
        scheduler_pause.wait(1)


scheduler_pause = threading.Event()
run.begin()
threading.Thread(target=enqueue, daemon=True).start()
SimpleWorker([queue], connection=connection).work(logging_level="ERROR")
