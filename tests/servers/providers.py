"""Which servers there are, and where they come from."""

from __future__ import annotations

from typing import Protocol

from .dynamodb import DynamoDB
from .etcd import ETCD_3, Etcd
from .model import Server
from .mysql import MARIADB_10, MYSQL_9, MariaDB, MySQL
from .pgbouncer import PGBOUNCER, PGBOUNCER_1_18, PgBouncer
from .postgres import POSTGRES_15, POSTGRES_18, Postgres
from .postgres_standby import POSTGRES_15_AND_TOOLS, PostgresStandby
from .process import Session
from .redis import REDIS_7, REDIS_8, VALKEY, Redis
from .redis_groups import RedisCluster, RedisSentinel


class Provider(Protocol):
    """A kind of server that can be started."""

    def prepare(self) -> None:
        """Fill the cache with all that a start needs, so that `start` needs no network.

        :raises Unavailable: the server cannot be had on this machine.
        """

    def start(self, session: Session, *options: str) -> Server:
        """Start a server of this kind with additional command line options and wait until it takes clients.

        :raises Unavailable: the server cannot be had on this machine.
        """


PROVIDERS: dict[str, Provider] = {
    "redis": Redis("redis", REDIS_7),
    "redis-cluster": RedisCluster("redis-cluster", REDIS_7),
    "redis-cluster-replicas": RedisCluster("redis-cluster-replicas", REDIS_7, replicas=1),
    "redis-sentinel": RedisSentinel("redis-sentinel", REDIS_7),
    "redis8": Redis("redis8", REDIS_8),
    "valkey": Redis("valkey", VALKEY),
    "postgres": Postgres("postgres", POSTGRES_15),
    "postgres18": Postgres("postgres18", POSTGRES_18),
    "postgres-standby": PostgresStandby("postgres-standby", POSTGRES_15_AND_TOOLS),
    "pgbouncer": PgBouncer("pgbouncer", PGBOUNCER),
    "pgbouncer1.18": PgBouncer("pgbouncer1.18", PGBOUNCER_1_18),
    "mysql": MySQL("mysql", MYSQL_9),
    "mariadb": MariaDB("mariadb", MARIADB_10),
    "dynamodb": DynamoDB("dynamodb"),
    "etcd": Etcd("etcd", ETCD_3),
}
