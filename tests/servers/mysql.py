"""MySQL and MariaDB."""

from __future__ import annotations

import abc
import functools
import os
import socket
import tempfile
from pathlib import Path

from .cache import build_once, folder, run
from .model import DATABASE, PASSWORD, USER, Server
from .process import HOST, Program, Session
from .trees import Tree

MYSQL_9 = Tree("mysql", "sid", ("mysql-server-core",))
MARIADB_10 = Tree("mariadb", "bookworm", ("mariadb-server-core",))

SETUP = f"""\
CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;
CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';
GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION;
"""
# The scripts that mariadb-install-db runs on a new server.
MARIADB_TABLES = (
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "fill_help_tables.sql",
    "maria_add_gis_sp_bootstrap.sql",
    "mysql_sys_schema.sql",
)
# Data need not survive a crash of the machine, but acknowledged writes must survive a killed server.
COMMON = (
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-buffer-pool-size=64M",
    "--innodb-use-native-aio=OFF",
    "--skip-log-bin",
    "--performance-schema=OFF",
)


class SqlServer(abc.ABC):
    """What MySQL and MariaDB have in common."""

    program: str
    options: tuple[str, ...]
    start_options: tuple[str, ...] = ()

    def __init__(self, kind: str, tree: Tree) -> None:
        self.kind = kind
        self.tree = tree

    def prepare(self) -> None:
        self.tree.unpack()
        self._template()

    def start(self, session: Session, *options: str) -> Server:
        port = session.free_port()
        directory = session.make_folder(self.kind)
        data = directory / "data"
        run("cp", "--archive", "--reflink=auto", self._template(), data)
        argv = [
            *self._command(data),
            f"--bind-address={HOST}",
            f"--port={port}",
            "--socket=server.sock",  # relative to the data, as a socket's path must be short
            "--pid-file=server.pid",
            f"--tmpdir={directory}",  # a separate folder, as a starting server deletes the files of others
            "--skip-name-resolve",
            "--max-connections=300",
            "--innodb-fast-shutdown=2",
            "--default-time-zone=+00:00",
            *self.start_options,
            *options,
        ]
        stale = ("data/server.pid", "data/server.sock", "data/server.sock.lock")
        program = Program(session, argv, directory, functools.partial(_takes_clients, port), stale=stale)
        program.start()
        url = f"mysql://{USER}:{PASSWORD}@{HOST}:{port}/{DATABASE}"
        authority = data / "ca.pem"
        return Server(
            self.kind,
            url,
            HOST,
            port,
            program,
            USER,
            PASSWORD,
            DATABASE,
            certificate_authority=authority if authority.exists() else None,
        )

    def _command(self, data: Path) -> list[str]:
        usr = self.tree.unpack() / "usr"
        argv = [
            str(self.tree.program(self.program)),
            "--no-defaults",
            f"--basedir={usr}",
            f"--lc-messages-dir={usr}/share/mysql",
            f"--character-sets-dir={usr}/share/mysql/charsets",
            f"--datadir={data}",
            *COMMON,
            *self.options,
        ]
        return [*argv, "--user=root"] if os.geteuid() == 0 else argv

    def _template(self) -> Path:
        """Return a data directory that each server gets a copy of."""
        return build_once(folder() / "templates" / self.tree.identity, self._initialise)

    @abc.abstractmethod
    def _initialise(self, data: Path) -> None:
        """Make a data directory with the test database and its user."""


class MySQL(SqlServer):
    """Provides MySQL servers from a tree. They speak TLS, with certificates that they make themselves."""

    program = "usr/sbin/mysqld"
    options = ("--secure-file-priv=NULL", "--innodb-redo-log-capacity=8M", "--innodb-log-buffer-size=1M")
    start_options = ("--mysqlx=OFF",)

    def _initialise(self, data: Path) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as setup:
            setup.write(SETUP)
            setup.flush()
            run(*self._command(data), "--initialize-insecure", f"--init-file={setup.name}")
        (data / "auto.cnf").unlink()  # the server's identity, which is each copy's own


class MariaDB(SqlServer):
    """Provides MariaDB servers from a tree."""

    program = "usr/sbin/mariadbd"
    options = ("--innodb-log-file-size=8M",)

    def _initialise(self, data: Path) -> None:
        for name in ("mysql", "performance_schema", "sys"):
            (data / name).mkdir(parents=True)
        scripts = self.tree.unpack() / "usr/share/mysql"
        tables = "".join((scripts / name).read_text() for name in MARIADB_TABLES)
        statements = [
            "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;",
            tables,
            "FLUSH PRIVILEGES;\nSET sql_mode='';\nDELETE FROM mysql.global_priv WHERE User='';",
            SETUP,
        ]
        bootstrap = [*self._command(data), "--bootstrap", "--enforce-storage-engine=", "--max-allowed-packet=8M"]
        run(*bootstrap, stdin="\n".join(statements))


def _takes_clients(port: int) -> bool:
    """Say whether the server greets: with its protocol's version, 10, or with an error, which is a start as well."""
    with socket.create_connection((HOST, port), timeout=2) as connection:
        greeting = connection.recv(5)
        return len(greeting) == 5 and greeting[4] in {10, 0xFF}
