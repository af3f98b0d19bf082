# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-dynamodb"]
# ///
"""On DynamoDB, with the ambient AWS credentials: AWS_REGION=eu-west-1 python on_dynamodb.py"""

import os
from datetime import timedelta

from pyncette import Context, Pyncette
from pyncette.dynamodb import dynamodb_repository

app = Pyncette(
    repository_factory=dynamodb_repository,
    dynamodb_endpoint=os.environ.get("DYNAMODB_ENDPOINT"),
    dynamodb_region_name=os.environ.get("AWS_REGION", "eu-west-1"),
    dynamodb_table_name="pyncette_example",
)


@app.task(interval=timedelta(seconds=1))
async def tick(context: Context) -> None:
    print("tick", context.scheduled_at)


if __name__ == "__main__":
    app.main()
