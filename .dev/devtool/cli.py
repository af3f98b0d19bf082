"""The commands of `./dev`: reads the arguments, prepares the environment, hands over."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from devtool import checks, lock, pythons, release, tests, uv
from devtool.compat import check_compatibility
from devtool.environment import Environment
from devtool.layout import closure, distributions, example_requirements, groups, script_requirements
from devtool.problem import Problem
from devtool.types import check_types

EPILOG = """\
Everything is set up on first use, in .venv (DEV_VENV names another place), with the versions of .dev/locks/lock.txt.
"""


def main(arguments: list[str]) -> int:
    """Runs one command, and returns its exit status. A Problem is printed in a line or two, without a traceback."""
    options, rest = parser().parse_known_args(arguments)
    command: Callable[[argparse.Namespace, list[str]], int] = options.command
    if rest and not options.passes_on:
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return command(options, rest)
    except Problem as problem:
        print(f"dev: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="./dev",
        description="Runs, tests and checks this repository; does all of its own set-up.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[..., int], text: str, *, add_help: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False, add_help=add_help)
        made.set_defaults(command=command, passes_on=False)
        return made

    script = add("run", run, "Run a script, such as examples/basic.py.")
    script.add_argument("script", type=Path)
    script.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own")
    test = add("test", run_tests, "Run all tests or, by name, a part: `test redis`; further arguments are pytest's.")
    test.set_defaults(passes_on=True)
    test.add_argument("--python", help="a version such as 3.12, `oldest`, `newest`, or a path")
    test.add_argument(
        "--resolution", choices=["locked", "lowest", "newest"], default="locked", help="versions of the dependencies"
    )
    test.add_argument(
        "--coverage",
        action="store_true",
        help="fail unless all lines and branches of the pure modules are covered",
    )
    check = add("check", check_all, "Lint, format, types, layers and ceilings: quick, before each commit.")
    check.add_argument("--fix", action="store_true", help="fix what can be fixed first")
    add("compat", compat, "Run the backends' contract on the oldest core that they allow.")
    add("types", verify_types, "Build and install the wheels, and check their types as users see them.")
    add("docs", docs, "Build the documentation into build/docs; a warning is an error.")
    for name, module, text in MEASURING:
        made = add(name, measure, f"{text}; its arguments: {name} --help.", add_help=False)
        made.set_defaults(passes_on=True, name=name, module=module)
    add("lock", lock_all, "Resolve the newest versions of all dependencies into .dev/locks/lock.txt.")
    made = add("release", make_release, "Make version, changelog entry, wheel and sdist of releases; publish nothing.")
    made.add_argument("releases", nargs="+", metavar="NAME=VERSION", help="such as pyncette-redis=2.0.1")
    return top


def environment() -> Environment:
    """The environment of the checkout, created by the Python that runs this."""
    return Environment(uv.usual_folder())


def environment_for(python: str | None, resolution: str) -> Environment:
    """The environment of a Python with the locked, lowest or newest versions of all dependencies."""
    usual = environment()
    if python is None and resolution == "locked":
        return usual
    folder = usual.folder.with_name(f"{usual.folder.name}-{Path(python or 'this').name}-{resolution}")
    constraints = usual.constraints if resolution == "locked" else None
    return Environment(
        folder, pythons.choose(python), constraints, "lowest-direct" if resolution == "lowest" else "highest"
    )


def test_requirements() -> list[str]:
    """All distributions with all extras, the test tools, and what the examples need."""
    ours = [distribution.whole for distribution in distributions().values()]
    return [*ours, *example_requirements(), *groups()["test"], *groups()["package"]]


def prepared(*requirements: str, within: Environment | None = None) -> Environment:
    """The environment with the requirements installed."""
    made = within or environment()
    made.prepare(*closure(requirements))
    return made


def run(options: argparse.Namespace, _rest: list[str]) -> int:
    if not options.script.is_file():
        raise Problem(f"There is no file {options.script}.")
    ready = prepared("pyncette", *script_requirements(options.script))
    sys.stdout.flush()
    os.execv(ready.interpreter, [ready.interpreter, str(options.script), *options.arguments])  # noqa: S606 -- that is the command


def run_tests(options: argparse.Namespace, rest: list[str]) -> int:
    ready = prepared(*test_requirements(), within=environment_for(options.python, options.resolution))
    pytest = ("-m", "pytest", *tests.processes(rest), *tests.places(rest))
    return tests.covered(ready, *pytest) if options.coverage else ready.run(*pytest)


def check_all(options: argparse.Namespace, _rest: list[str]) -> int:
    ready = prepared(*test_requirements(), *groups()["bench"], *groups()["lint"], *groups()["mypy"])
    return checks.check(ready, fix=options.fix)


def compat(_options: argparse.Namespace, _rest: list[str]) -> int:
    return check_compatibility(environment())


def verify_types(_options: argparse.Namespace, _rest: list[str]) -> int:
    return check_types(prepared(*groups()["package"], *groups()["mypy"], *groups()["pyright"]))


def docs(_options: argparse.Namespace, _rest: list[str]) -> int:
    ready = prepared(*test_requirements(), *groups()["docs"])
    built = ready.run("-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html", "docs", "build/docs")
    return ready.run("-m", "pytest", "-q", "tests/docs/test_validated.py") or built


def measure(options: argparse.Namespace, rest: list[str]) -> int:
    return prepared(*test_requirements(), *groups().get(options.name, [])).run("-m", options.module, *rest)


MEASURING = (
    ("bench", "tests.benchmarks", "Measure against pyncette 1.1.0"),
    ("chaos", "tests.chaos", "Hurt a store and its workers, and account for every occurrence"),
    ("endure", "tests.endurance", "See whether workers or a store grow over hours"),
)
"""Commands whose modules parse the arguments themselves."""


def lock_all(_options: argparse.Namespace, _rest: list[str]) -> int:
    lock.write()
    return 0


def make_release(options: argparse.Namespace, _rest: list[str]) -> int:
    plan = [release.parse(text) for text in options.releases]
    release.make(plan, prepared(*groups()["package"]))
    return 0
