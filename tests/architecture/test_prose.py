"""What readers see uses the words of the style guide in docs/contributing.md."""

import re

from tests.architecture.sources import ROOT, tracked

INSTEAD = {
    r"cron texts?": "cron expression",
    r"(?<!\w)all the same(?! )|go(es)? on all the same": "nevertheless, or nothing",
    r"(said|told|says|tells) once\b": "logged once",
    r"\b(is|are|was|were) away\b": "unreachable, down",
    r"\b(mend(s|ed|ing)?)\b": "fix",
    r"\bat most so many\b": "at most this many",
    r"\b(its|their|the) mates\b": "the rest of the batch",
    r"\bcrews?\b": "workers",
    r"\bNone of these storages\b": "",
    r"\bmoods?\b": "states",
    r"\bfor ever\b": "forever",
    r"\bfail-overs?\b": "failover",
    r"\b(told|tells?|telling) of\b": "reports, describes, says about",
    r"\btimes by now\b": "times so far",
    r"\bso many (are|at a time|seconds|times as many|runs|partitions|columns)\b": "this many, how many",
    r"\bis tried on\b": "is retried",
    r"\banew\b": "again, or over: schedule it again, start over, recreate",
    r"\b(go(es)?|went) on\b": "continue, keep",
    r"\bin vain\b": "comes back empty, without success",
    r"\bbeside (the|its) schedule\b": "outside the schedule",
    r"(?<![a-z])patience(?![a-z])": "timeout, limit",
    r"\blies\b": "is",
}
EXCEPT = {"docs/contributing.md", "tests/architecture/test_prose.py"}
"""Files that may contain the forbidden words: the guide and this test name them."""


def test_the_style_guide_is_kept() -> None:
    bad = []
    for path in tracked():
        name = str(path.relative_to(ROOT))
        if path.suffix not in {".md", ".py", ".sql", ".lua", ".yml", ".yaml"} or name in EXCEPT:
            continue
        text = path.read_text()
        for pattern, instead in INSTEAD.items():
            for found in re.finditer(pattern, text, re.IGNORECASE):
                line = text.count("\n", 0, found.start()) + 1
                bad.append(f"{name}:{line} {found[0]!r}: {instead}")
    assert not bad, "\n".join(bad)
