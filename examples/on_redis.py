# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-redis"]
# ///
"""On Redis. Start as many processes as you like: REDIS_URL=redis://localhost python on_redis.py"""

import os
from datetime import timedelta

from pyncette import Context, Pyncette
from pyncette.redis import redis_repository

app = Pyncette(
    repository_factory=redis_repository,
    redis_url=os.environ.get("REDIS_URL", "redis://localhost"),
    redis_namespace="example",
)


@app.task(interval=timedelta(seconds=1))
async def tick(context: Context) -> None:
    print("tick", context.scheduled_at)


if __name__ == "__main__":
    app.main()
