"""The repository is for everyone: it names no machine, no workplace and no package index."""

import re

from tests.architecture.sources import ROOT, tracked

# Pieced together, so that this file passes its own test.
FORBIDDEN = {
    "a package index or mirror": (
        r"pypi" + r"\.org",
        r"python" + r"hosted\.",
        r"registry\." + r"npm",
        r"deb\." + r"debian|debian\." + r"org/debian",
    ),
    "a place on somebody's machine": (
        r"(?<![\w.])/" + r"work/",
        r"(?<!\w)/" + r"root/",
        r"/" + r"tmp/w/",
        r"/home" + r"/\w+/",
    ),
    "papers that readers don't have": (
        r"\.\./" + r"shared\b",
        r"\benvironment" + r"\.md\b",
        r"\bspec" + r"\.md\b",
        r"\bdesign" + r"\.md\b",
    ),
}


def test_forbidden_words() -> None:
    bad = []
    for path in tracked():
        text = path.read_bytes().decode(errors="replace")
        for what, patterns in FORBIDDEN.items():
            for found in re.finditer("|".join(patterns), text):
                line = text.count("\n", 0, found.start()) + 1
                bad.append(f"{path.relative_to(ROOT)}:{line} names {what}: {found[0]}")
    assert not bad, "\n".join(bad)


def test_ignored_warnings_have_reasons() -> None:
    """`noqa` and `type: ignore` name their codes, and give a reason after them or on the line before."""
    mark = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore)(?P<rest>.*)")
    bad = []
    for path in tracked():
        if path.suffix != ".py":
            continue
        before = ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = mark.search(line)
            if found and path.name != "test_words.py":
                reason = re.sub(r"^(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|\[[^\]]*\])", "", found["rest"])
                if reason == found["rest"] or not (re.search(r"\w{2}", reason) or before.startswith("#")):
                    bad.append(f"{path.relative_to(ROOT)}:{number} {line.strip()}")
            before = line.strip()
    assert not bad, "a code and a reason: `# noqa: S603 -- the command is ours`\n" + "\n".join(bad)
