# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core[prometheus]"]
# ///
"""Metrics for Prometheus: curl http://127.0.0.1:9699/metrics"""

import os
from datetime import timedelta

from prometheus_client import start_http_server

from pyncette import Context, Pyncette
from pyncette.prometheus import use_prometheus

app = Pyncette()
use_prometheus(app)


@app.task(interval=timedelta(seconds=1))
async def tick(context: Context) -> None:
    print("tick", context.scheduled_at)


if __name__ == "__main__":
    start_http_server(port=int(os.environ.get("PORT", "9699")), addr="127.0.0.1")
    app.main()
