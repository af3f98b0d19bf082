"""Amazon DynamoDB storage for Pyncette."""

from pyncette.repository import Backend

from .repository import DynamoDBRepository, dynamodb_repository
from .schema import table_definition
from .settings import options_from_url

__all__ = ["DynamoDBRepository", "backend", "dynamodb_repository", "table_definition"]

backend: Backend = Backend(factory=dynamodb_repository, options_from_url=options_from_url)
