"""Commands as bytes. A batch has hundreds of arguments, most of them bytes already: the driver's way to pack them costs
several times as much, unless hiredis is installed (redis-py issue 2162)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .scripts import Script


def bulk(argument: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def number(value: int) -> bytes:
    return bulk(b"%d" % value)


def command(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(bulk(word.encode(errors="surrogateescape")) for word in words)


@dataclass(frozen=True, slots=True)
class Plain:
    """A command that is no script.

    :ivar slot: that of its key; of a command without a key any.
    """

    slot: int
    words: Sequence[str]

    @property
    def script(self) -> None:
        return None

    def pack(self) -> bytes:
        return command(*self.words)


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of a script.

    :ivar slot: that of its keys, all of them.
    :ivar keys, arguments: packed by :func:`bulk`; a piece may hold several arguments.
    :ivar argument_count: how many there are.
    """

    script: Script
    slot: int
    keys: Sequence[bytes]
    arguments: Sequence[bytes]
    argument_count: int

    def pack(self) -> bytes:
        count = len(self.keys)
        head = b"*%d\r\n$7\r\nEVALSHA\r\n" % (3 + count + self.argument_count)
        return b"".join([head, bulk(self.script.sha), bulk(b"%d" % count), *self.keys, *self.arguments])


def load(script: Script) -> bytes:
    return b"*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n" + bulk(script.source)


ASKING = command("ASKING")
