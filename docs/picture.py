"""Makes the picture in the README: two workers on one SQLite file, one of which is killed.

    ./dev run docs/picture.py

Runs the real thing, and draws what the workers print as docs/_static/at_work.svg.
"""
# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette"]
# ///

from __future__ import annotations

import queue
import subprocess
import sys
import tempfile
import threading
import time
from html import escape
from pathlib import Path

PICTURE = Path(__file__).with_name("_static") / "at_work.svg"
COLOURS = {"worker 1": "#7dcfff", "worker 2": "#bb9af7", "": "#9ece6a"}
LINE_HEIGHT, MARGIN, WIDTH = 20, 16, 460

WORKER = """
import sys
from datetime import timedelta
import anyio
from pyncette import Context, Pyncette

app = Pyncette("sqlite:///at_work.db", concurrency_limit=2)

@app.dynamic_task(lease_duration=timedelta(seconds=2))
async def greet(context: Context) -> None:
    await anyio.sleep(0.2)
    print(f"{context.scheduled_at:%H:%M:%S}  Hello, {context.task.name}!", flush=True)

async def schedule() -> None:
    async with app.create() as context:
        for name in ("Ada", "Grace", "Edsger", "Barbara"):
            await context.schedule_task(greet, name, interval=timedelta(seconds=1))

if sys.argv[1:] == ["schedule"]:
    anyio.run(schedule)
else:
    app.main()
"""


def at_work(folder: Path) -> list[tuple[str, str]]:
    """Who said what, in order."""
    program = folder / "app.py"
    program.write_text(WORKER)
    said: queue.Queue[tuple[str, str]] = queue.Queue()

    def start(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, program], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                said.put((name, line.rstrip()))

        threading.Thread(target=listen, daemon=True).start()
        return process

    said.put(("", "$ python app.py &  python app.py &"))
    workers = {name: start(name) for name in ("worker 1", "worker 2")}
    time.sleep(1.5)
    subprocess.run([sys.executable, program, "schedule"], cwd=folder, check=True)
    time.sleep(2.4)
    workers["worker 2"].kill()
    said.put(("", "$ kill -9 %2     # worker 1 takes over"))
    time.sleep(2.8)
    workers["worker 1"].terminate()
    for worker in workers.values():
        worker.wait()
    return [said.get() for _ in range(said.qsize())]


def draw(lines: list[tuple[str, str]]) -> str:
    height = 2 * MARGIN + LINE_HEIGHT * len(lines)
    rows = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + LINE_HEIGHT * (i + 0.75):.0f}" fill="{COLOURS[who]}" xml:space="preserve">'
        f"{escape(f'{who:10}{text}' if who else text)}</text>"
        for i, (who, text) in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">\n'
        f'<rect width="100%" height="100%" rx="8" fill="#1a1b26"/>\n{rows}\n</svg>\n'
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(draw(at_work(Path(folder))))
    print(PICTURE)
