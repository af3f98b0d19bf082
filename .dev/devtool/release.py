"""Makes releases of distributions: version, changelog entry, wheel and sdist. Publishes and commits nothing."""

from __future__ import annotations

import datetime
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from devtool import wheels
from devtool.environment import Environment, say
from devtool.layout import ROOT, Distribution, distributions
from devtool.problem import Problem

CHANGELOG = ROOT / "docs" / "changelog.md"
FRAGMENTS = ROOT / "docs" / "changelog.d"
MARK = "<!-- releases below, newest first; ./dev release adds them -->\n"
VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")


@dataclass(frozen=True, slots=True)
class Release:
    """A distribution and its new version."""

    distribution: Distribution
    version: str

    @property
    def fragments(self) -> list[Path]:
        """The notes for this release: docs/changelog.d/NAME.ANYTHING.md."""
        return sorted(FRAGMENTS.glob(f"{self.distribution.name}.*.md"))


def parse(text: str) -> Release:
    """Reads NAME=VERSION.

    :raises Problem: for an unknown distribution, or a version that is not a release.
    """
    name, _, version = text.partition("=")
    if name not in distributions():
        raise Problem(f"{name} is not a distribution; there are {', '.join(distributions())}.")
    if not VERSION.fullmatch(version):
        raise Problem(f"{text}: write the version as 2.1.0 or 2.1.0rc1.")
    return Release(distributions()[name], version)


def make(plan: list[Release], environment: Environment) -> None:
    """Changes the versions and the changelog, and builds into dist/.

    :raises Problem: if notes are missing, before anything is changed; if a build fails, afterwards.
    """
    for release in plan:
        if not release.fragments:
            raise Problem(
                f"Nothing to say on {release.distribution.name}: add docs/changelog.d/{release.distribution.name}.*.md"
            )
    entries = "".join(entry(release) for release in plan)
    changelog = CHANGELOG.read_text()
    if MARK not in changelog:
        raise Problem(f"docs/changelog.md has lost its mark: {MARK.strip()}")
    CHANGELOG.write_text(changelog.replace(MARK, MARK + entries))
    for release in plan:
        set_version(release)
        for fragment in release.fragments:
            fragment.unlink()
    build([release.distribution for release in plan], environment)
    say("Made. To publish: review and commit, tag, upload the files in dist/ with twine:")
    for release in plan:
        say(f"  git tag {release.distribution.name}-{release.version}")


def entry(release: Release) -> str:
    today = datetime.date.today().isoformat()  # noqa: DTZ011 -- the date where the release is made
    notes = "".join(f"- {indent(fragment.read_text().strip(), '  ').lstrip()}\n" for fragment in release.fragments)
    return f"\n## {release.distribution.name} {release.version} ({today})\n\n{notes}"


def set_version(release: Release) -> None:
    """Sets the version in the only place that has it: the distribution's own pyproject.toml."""
    path = release.distribution.folder / "pyproject.toml"
    path.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{release.version}"', path.read_text(), count=1))


def build(plan: list[Distribution], environment: Environment) -> None:
    """Builds sdists and wheels into dist/ and has twine check them."""
    target = ROOT / "dist"
    shutil.rmtree(target, ignore_errors=True)
    wheels.build(environment.interpreter, [distribution.folder for distribution in plan], target)
    if environment.run("-m", "twine", "check", "--strict", *map(str, sorted(target.iterdir()))):
        raise Problem("twine refuses what was built.")
