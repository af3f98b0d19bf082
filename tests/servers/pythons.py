"""A Python that this machine lacks, from Debian's packages: `python -m tests.servers.pythons 3.14` prints its path."""

from __future__ import annotations

import argparse
import sys

from .cache import Unavailable
from .trees import Tree


def tree(version: str) -> Tree:
    names = (
        f"python{version}",
        f"python{version}-minimal",
        f"libpython{version}-stdlib",
        f"libpython{version}-minimal",
    )
    return Tree(f"python{version}", "sid", (*names, "media-types"))


def main() -> str | None:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.pythons", description=__doc__)
    parser.add_argument("version", help="such as 3.14")
    version = parser.parse_args().version
    try:
        print(tree(version).program(f"usr/bin/python{version}"))
    except Unavailable as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main())
