# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""A worker that lost its lease without noticing can't overwrite what its successor wrote."""

from datetime import timedelta

import anyio

from pyncette import Context, Pyncette

app = Pyncette()


class Store:
    """Some other system, which remembers the highest token that it has seen."""

    def __init__(self) -> None:
        self.highest = 0
        self.value = ""

    def write(self, value: str, token: int) -> bool:
        if token < self.highest:
            return False
        self.highest, self.value = token, value
        return True


store = Store()
slow = [3.0, 0.0, 0.0]  # seconds that the first, second ... execution takes


@app.task(interval=timedelta(seconds=1), lease_duration=timedelta(seconds=1))
async def publish(context: Context) -> None:
    await anyio.sleep(slow.pop(0) if slow else 0)  # without heartbeats: the first one outlasts its lease
    written = store.write(f"value of {context.scheduled_at}", context.fencing_token)
    print("written" if written else "refused", context.scheduled_at, context.fencing_token)


if __name__ == "__main__":
    app.main()
