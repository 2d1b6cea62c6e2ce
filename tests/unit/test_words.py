"""Documents and the package's strings avoid the phrases of the glossary's last table.

To list the offenders by file: pytest tests/unit/test_words.py --runxfail
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
SOURCE = ROOT / "src" / "deepfreak"

# By a phrase of the glossary's "not" column: what to look for, whole words, in any case.
RATES = (
    r"(ms|milliseconds|seconds|images|frames|shots|photons|peaks|bytes|[kMG]B|lines?|numbers?) an? "
    r"(second|image|pixel|shot|frame|epoch|step|core|node|worker|file)"
)
NOUNS = (
    r"(pictures?|images?|numbers?|whole numbers?|text|UTF-8|models?|networks?|recipes?|spots?|gaps?"
    r"|peaks?|data sets?|splits?|directory|folders?|files?|list|measurements?|statistics|proof)"
)
FORBIDDEN = {
    "broken off": r"(break|breaks|broken|broke) off",
    "gone on with": r"(go|goes|gone|going|went) on",
    "anew": r"anew",
    "say of": r"(say|says|tell|tells) of",
    "passed over": r"pass(es|ed)? over",
    "taught": r"taught|teach(es|ing)?",
    "buried": r"bury|buries|buried",
    "stillborn": r"stillborn",
    "is none": r"(?<!there )(is|are|was|were) (?-i:none)(?! of)",
    "nobody": r"nobody",
    "is no picture": rf"(?<!there )(is|are|was|were) no {NOUNS}",
    "asked by hand": r"asked by hand",
    "of ours": r"of ours",
    "for ever": r"for ?ever",
    "so many": r"so many(?! \w+ that)",
    "lest": r"lest",
    "whoever": r"whoever",
    "what came of it": r"what (comes|came|becomes|became) of",
    "had back": r"had (back|again)",
    "sought": r"sought",
    "photons a pixel": RATES,
    "read-out noise": r"read-out",
    "whence": r"whence|thereof|whereof",
    "facts": r"facts",
    "tally": r"tally",
}
PATTERNS = {
    phrase: re.compile(rf"\b(?:{found})\b", re.IGNORECASE) for phrase, found in FORBIDDEN.items()
}


def prose(markdown):
    """Return the text of a document without its code."""
    return re.sub(r"```.*?```|`[^`]*`", "", markdown, flags=re.DOTALL)


def texts():
    """Yield (file, first line, text) of all documents, docstrings and other strings."""
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")):
        if path != GLOSSARY:
            yield path, 1, prose(path.read_text())
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.lineno, node.value


def offenders():
    """Return lines that name the place and the phrase, by file."""
    found = defaultdict(list)
    for path, first, text in texts():
        flat = re.sub(r"\s", " ", text)
        for phrase, pattern in PATTERNS.items():
            for match in pattern.finditer(flat):
                near = flat[max(0, match.start() - 30) : match.end() + 30].strip()
                where = (
                    ""
                    if path.suffix == ".md"
                    else f"{first + text[: match.start()].count(chr(10))}: "
                )
                found[str(path.relative_to(ROOT))].append(f"  {where}{phrase!r}: ... {near} ...")
    return found


def test_the_glossary_lists_every_forbidden_phrase():
    table = GLOSSARY.read_text().partition("## Say, do not say")[2]
    rows = [line.split("|") for line in table.splitlines() if "tested" in line and "|" in line]
    listed = " ".join(row[2] for row in rows)
    assert not [phrase for phrase in FORBIDDEN if phrase not in listed]


@pytest.mark.parametrize(
    "text",
    [
        "There is none.",
        "There are none of these.",
        "The file is None.",
        "so many spots that they overlap",
        "There is no image.",
        "at the latest",
        "a second image",
        "an artefact",
    ],
)
def test_plain_words_are_allowed(text):
    assert not [phrase for phrase, pattern in PATTERNS.items() if pattern.search(text)]


def test_no_forbidden_phrase_is_used():
    found = offenders()
    report = "\n".join(f"{path}\n" + "\n".join(found[path]) for path in sorted(found))
    assert not found, f"{sum(map(len, found.values()))} phrases to rewrite\n{report}"
