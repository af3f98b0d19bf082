# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core[otel]", "opentelemetry-sdk>=1.30"]
# ///
"""Traces, to a collector in memory: two attempts, both linked to the request that scheduled them."""

import datetime
from datetime import timedelta

import anyio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pyncette import Context, Pyncette, Retry
from pyncette.otel import use_opentelemetry

collector = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(collector))
trace.set_tracer_provider(provider)

app = Pyncette()
use_opentelemetry(app)


@app.dynamic_task(retry=Retry(2, delay=timedelta(milliseconds=50)))
async def deliver(context: Context) -> None:
    if context.attempt == 1:
        raise ConnectionError("the mail server is down")
    context.app_context.shutdown()


async def main() -> None:
    async with app.create() as context:
        with trace.get_tracer("shop").start_as_current_span("POST /orders"):
            now = datetime.datetime.now(datetime.UTC)
            await context.schedule_task(deliver, "invoice", execute_at=now)
        await context.run()
    names = {span.context.span_id: span.name for span in collector.get_finished_spans() if span.context}
    for span in collector.get_finished_spans():
        if span.name == "process deliver":
            links = [names[link.context.span_id] for link in span.links]
            print(span.name, dict(span.attributes or {})["pyncette.outcome"], "linked to", *links)


if __name__ == "__main__":
    anyio.run(main)
