# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-postgres"]
# ///
"""On PostgreSQL. Start as many processes as you like: POSTGRES_URL=postgresql://… python on_postgres.py"""

import os
from datetime import timedelta

from pyncette import Context, Pyncette
from pyncette.postgres import postgres_repository

app = Pyncette(
    repository_factory=postgres_repository,
    postgres_url=os.environ.get("POSTGRES_URL", "postgresql://localhost/postgres"),
    postgres_table_name="pyncette_example",
)


@app.task(interval=timedelta(seconds=1))
async def tick(context: Context) -> None:
    print("tick", context.scheduled_at)


if __name__ == "__main__":
    app.main()
