"""DynamoDB Local, AWS's own, for tests only: its jar is downloaded by each user and never passed on."""

from __future__ import annotations

import functools
import hashlib
import http.client
import shutil
import tempfile
from pathlib import Path

from .cache import Unavailable, build_once, folder, run
from .model import Server
from .process import HOST, Program, Session
from .trees import JAVA_LIBRARIES, Tree

# An npm package that carries the jar.
PACKAGE = "amplify-dynamodb-simulator@2.9.30"
SHA256 = "3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9"
JAVA = Tree("java", "bookworm", ("openjdk-17-jre-headless",), JAVA_LIBRARIES)

# The documented command line listens on all addresses and has no option for one. Here the same server is put
# together by Jetty's own XmlConfiguration, which is in the jar, and listens on loopback only.
CONFIGURATION = """\
<?xml version="1.0"?>
<!DOCTYPE Configure PUBLIC "-//Jetty//Configure//EN" "https://www.eclipse.org/jetty/configure_9_3.dtd">
<Configure id="Server" class="org.eclipse.jetty.server.Server">
  <Call name="addConnector"><Arg>
    <New class="org.eclipse.jetty.server.ServerConnector">
      <Arg name="server"><Ref refid="Server"/></Arg>
      <Set name="host">{host}</Set>
      <Set name="port">{port}</Set>
    </New>
  </Arg></Call>
  <Set name="handler">
    <New class="org.eclipse.jetty.server.handler.ContextHandler">
      <Set name="handler">
        <New class="com.amazonaws.services.dynamodbv2.local.server.LocalDynamoDBServerHandler">
          <Arg>
            <New class="com.amazonaws.services.dynamodbv2.local.server.LocalDynamoDBRequestHandler">
              <Arg type="int">0</Arg>
              <Arg type="boolean">{in_memory}</Arg> <!-- inMemory -->
              {path} <!-- dbPath -->
              <Arg type="boolean">true</Arg> <!-- sharedDb -->
              <Arg type="boolean">false</Arg> <!-- delayTransientStatuses -->
            </New>
          </Arg>
          <Arg/> <!-- cors -->
        </New>
      </Set>
    </New>
  </Set>
</Configure>
"""


ON_DISK = "--on-disk"


class DynamoDB:
    """Provides DynamoDB Local. Its data are in memory, and a restart loses them; unless the option ``--on-disk`` puts
    them into a file, which is slower. All other options are Java's.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def prepare(self) -> None:
        self._unpack()
        self._java()

    def start(self, session: Session, *options: str) -> Server:
        port = session.free_port()
        directory = session.make_folder(self.kind)
        configuration = directory / "server.xml"
        on_disk = ON_DISK in options
        configuration.write_text(
            CONFIGURATION.format(
                host=HOST,
                port=port,
                in_memory="false" if on_disk else "true",
                path=f"<Arg>{directory}</Arg>" if on_disk else "<Arg/>",
            )
        )
        unpacked = self._unpack()
        argv: list[str | Path] = [
            self._java(),
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",  # a file in /tmp
            f"-Djava.io.tmpdir={directory}",
            f"-Djava.library.path={unpacked / 'DynamoDBLocal_lib'}",
            "-Dorg.eclipse.jetty.LEVEL=WARN",
            *(option for option in options if option != ON_DISK),
            "-cp",
            unpacked / "DynamoDBLocal.jar",
            "org.eclipse.jetty.xml.XmlConfiguration",
            configuration,
        ]
        program = Program(session, argv, directory, functools.partial(_takes_clients, port))
        program.start()
        return Server(self.kind, f"http://{HOST}:{port}", HOST, port, program)

    def _unpack(self) -> Path:
        return build_once(folder() / f"dynamodb-{SHA256[:8]}", self._download)

    def _download(self, target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            run("npm", "pack", "--silent", PACKAGE, "--pack-destination", scratch, cwd=Path(scratch))
            (package,) = Path(scratch).glob("*.tgz")
            if hashlib.sha256(package.read_bytes()).hexdigest() != SHA256:
                raise Unavailable(f"{PACKAGE} of the npm registry is not the file that it should be")
            target.mkdir()
            run("tar", "-xzf", package, "-C", target, "--strip-components=2", "--no-same-owner", "package/emulator")

    def _java(self) -> Path:
        """Return the machine's Java if it has one that runs, else Debian's."""
        own = shutil.which("java")
        return Path(own) if own and _runs(own) else JAVA.program("usr/lib/jvm/*/bin/java")


@functools.cache
def _runs(java: str) -> bool:
    try:
        run(java, "-XX:-UsePerfData", "-version")
    except Unavailable:
        return False
    return True


def _takes_clients(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.BAD_REQUEST  # the signature is missing
    except http.client.HTTPException:
        return False
    finally:
        connection.close()
