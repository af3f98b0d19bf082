# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""An HTTP endpoint for a container's health check: curl -i http://127.0.0.1:8080/"""

import os
from datetime import timedelta

from pyncette import Context, Pyncette
from pyncette.healthcheck import use_healthcheck_server

app = Pyncette()
use_healthcheck_server(app, port=int(os.environ.get("PORT", "8080")), bind_address="127.0.0.1")


@app.task(interval=timedelta(seconds=1))
async def tick(context: Context) -> None:
    print("tick", context.scheduled_at)


if __name__ == "__main__":
    app.main()
