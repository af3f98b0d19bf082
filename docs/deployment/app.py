"""What the files next to it deploy: one task, the storage's address from the environment, a health check."""

import os
from datetime import timedelta

from pyncette import Context, Pyncette
from pyncette.healthcheck import use_healthcheck_server

app = Pyncette(
    os.environ.get("DATABASE_URL", "sqlite:///pyncette.db"),
    drain_timeout=timedelta(seconds=30),
)
use_healthcheck_server(app, port=8080, bind_address=os.environ.get("HEALTHCHECK_ADDRESS", "127.0.0.1"))


@app.task(schedule="0 * * * *")
async def hourly(context: Context) -> None:
    print("due at", context.scheduled_at)


if __name__ == "__main__":
    app.main(log_format="json")
