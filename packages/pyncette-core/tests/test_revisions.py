"""Revisions are generated in blocks, but each belongs to one write of one process."""

from __future__ import annotations

import os
import threading

import pytest

from pyncette._leases.revisions import BLOCK, new_revision


def test_revisions_are_unique() -> None:
    tokens = [new_revision() for _ in range(3 * BLOCK)]
    assert len(set(tokens)) == len(tokens)
    assert {len(token) for token in tokens} == {16}
    assert int("".join(tokens), 16) > 0


def test_threads_do_not_share_revisions() -> None:
    tokens: list[str] = []
    threads = [
        threading.Thread(target=lambda: tokens.extend([new_revision() for _ in range(20 * BLOCK)])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(tokens)) == len(tokens)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_process_has_different_revisions() -> None:
    new_revision()  # leaves most of a block
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, ",".join(new_revision() for _ in range(BLOCK)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = set(pipe.read().split(","))
    assert len(theirs) == BLOCK
    assert theirs.isdisjoint(new_revision() for _ in range(BLOCK))
