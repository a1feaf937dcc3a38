"""Every name that a module of the page imports is exported by the module it names.

One that is not keeps the whole page blank, and no merge of two changes reports it. All modules are
announced: one that is not is loaded late. All lines are short enough to be read.
"""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "server" / "src" / "diptych" / "http" / "page"
MODULES = sorted((PAGE / "js").rglob("*.js"))
OWN = sorted([*MODULES, *(PAGE / "css").rglob("*.css"), *PAGE.glob("*.html")])
MAX_CHARS = 120
IMPORT = re.compile(r"^(?:import|export) \{([^}]*)\} from \"([^\"]+)\";", re.MULTILINE)
DECLARED = re.compile(r"^export (?:async )?(?:const|let|class|function\*?) (\w+)", re.MULTILINE)
LISTED = re.compile(r"^export \{([^}]*)\}", re.MULTILINE)


def names_in(braces: str, place: int) -> set[str]:
    """The names in `{a, b as c}`: those before `as` (0) or after it (-1)."""
    return {part.split(" as ")[place].strip() for part in braces.split(",") if part.strip()}


def missing(module: Path) -> list[str]:
    found = []
    for braces, source in IMPORT.findall(module.read_text(encoding="utf-8")):
        target = (module.parent / source).resolve()
        if target.is_relative_to(PAGE / "js"):
            text = target.read_text(encoding="utf-8")
            exported = {*DECLARED.findall(text), *(n for b in LISTED.findall(text) for n in names_in(b, -1))}
            found += [f"{name} of {source}" for name in sorted(names_in(braces, 0) - exported)]
    return found


def test_all_modules_are_announced() -> None:
    index = (PAGE / "index.html").read_text(encoding="utf-8")
    announced = re.findall(r'<link rel="modulepreload" href="assets/([^"]+)">', index)
    apart = {
        "js/main.js",
        "js/docs.js",
        "diptych-client/node.js",
    }  # begins the page, another page, not for browsers
    modules = {str(module.relative_to(PAGE)) for module in PAGE.rglob("*.js") if "swagger" not in str(module)}
    assert announced == sorted(modules - apart)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PAGE / "js")))
def test_imported_names_are_exported(module: Path) -> None:
    assert missing(module) == []


def test_lines_of_the_page_are_short() -> None:
    assert len(OWN) > 40
    long = [
        f"{file.relative_to(PAGE)}:{number}: {len(line)} characters, limit is {MAX_CHARS}"
        for file in OWN
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > MAX_CHARS
    ]
    assert long == []
