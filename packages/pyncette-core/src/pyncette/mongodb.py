"""The MongoDB backend of pyncette 1.1.0, which version 2 does not have."""

raise ImportError(
    "MongoDB is not supported since version 2. Choose another backend (pyncette-sqlite, -redis, -postgres, -mysql, "
    "-dynamodb), or stay on pyncette 1.1.0; 'Coming from pyncette 1.1.0' in the documentation explains how to move."
)
