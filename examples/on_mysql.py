# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-mysql"]
# ///
"""On MySQL or MariaDB. Start as many processes as you like: MYSQL_HOST=… MYSQL_USER=… python on_mysql.py"""

import os
from datetime import timedelta

from pyncette import Context, Pyncette
from pyncette.mysql import mysql_repository

app = Pyncette(
    repository_factory=mysql_repository,
    mysql_host=os.environ.get("MYSQL_HOST", "localhost"),
    mysql_port=int(os.environ.get("MYSQL_PORT", "3306")),
    mysql_user=os.environ.get("MYSQL_USER", "pyncette"),
    mysql_password=os.environ.get("MYSQL_PASSWORD", ""),
    mysql_database=os.environ.get("MYSQL_DATABASE", "pyncette"),
    mysql_table_name="pyncette_example",
)


@app.task(interval=timedelta(seconds=1))
async def tick(context: Context) -> None:
    print("tick", context.scheduled_at)


if __name__ == "__main__":
    app.main()
