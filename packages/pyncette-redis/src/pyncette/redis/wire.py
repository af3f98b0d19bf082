"""Encodes commands. A batch has hundreds of arguments, most of which are bytes already. The driver's own encoder takes
several times as long, unless hiredis is installed (redis-py issue 2162)."""

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
    """A command other than a script.

    :ivar slot: the slot of its key; any slot for a command without a key.
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

    :ivar slot: the slot that all its keys share.
    :ivar keys, arguments: packed by :func:`bulk`; one item may hold several arguments.
    :ivar argument_count: the number of arguments.
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
