"""`diptych-train data wordnet`: write the nouns of WordNet and their definitions as texts to teach."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from diptych_training.data.debian import add_deb_flag, read_file, unpacked
from diptych_training.data.pairs.tools.flags import positive
from diptych_training.errors import DataError
from diptych_training.files import write_text
from diptych_training.paths import wordnet_dir

PACKAGE = "wordnet-base"
DATABASE = Path("usr/share/wordnet/data.noun")
COPYRIGHT = Path("usr/share/doc") / PACKAGE / "copyright"
NOUNS, GLOSSES = "nouns.txt", "glosses.txt"
N_WORDS = 16  # of a definition


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wordnet` to the commands of `data`."""
    parser = subparsers.add_parser(
        "wordnet",
        help="write the nouns of WordNet and their definitions, for a text teacher",
        description=f"Fetches Debian's {PACKAGE} (6 MB) with apt-get and writes WordNet 3.0's nouns "
        f"({NOUNS}) and their definitions ({GLOSSES}), a text a line, for `text_teacher.texts` of a recipe.",
    )
    parser.add_argument(
        "--out", type=Path, default=wordnet_dir(), metavar="DIR", help="default: $DIPTYCH_CACHE/wordnet"
    )
    parser.add_argument(
        "--words",
        type=positive,
        default=N_WORDS,
        metavar="N",
        help=f"leave out definitions of more words (default {N_WORDS})",
    )
    add_deb_flag(parser, PACKAGE)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write both files and print how many texts they have."""
    with unpacked(PACKAGE, args.deb) as package:
        n_nouns, n_glosses = write_texts(package, args.out, args.words)
    print(f"{args.out / NOUNS}: {n_nouns:,} nouns\n{args.out / GLOSSES}: {n_glosses:,} definitions")
    return 0


def write_texts(package: Path, out: Path, n_words: int = N_WORDS) -> tuple[int, int]:
    """Write nouns, and definitions of at most `n_words` words, of an unpacked package, with its licence; how
    many of each.

    Raises DataError if the package has no such database.
    """
    lines = read_file(PACKAGE, package / DATABASE).decode("utf-8").splitlines()
    licence = read_file(PACKAGE, package / COPYRIGHT).decode("utf-8")
    found = list(_synsets(lines))
    nouns = sorted({noun for names, _ in found for noun in names})
    glosses = sorted({gloss for _, gloss in found if len(gloss.split()) <= n_words})
    for name, texts in ((NOUNS, nouns), (GLOSSES, glosses)):
        write_text(out / name, "".join(f"{text}\n" for text in texts))
    write_text(out / "COPYRIGHT", licence)
    return len(nouns), len(glosses)


def _synsets(lines: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """The nouns of each set of synonyms, and its definition without examples; see wndb(5WN)."""
    for number, line in enumerate(lines, start=1):
        if line.startswith("  "):  # the licence
            continue
        fields, _, gloss = line.partition(" | ")
        try:
            _, _, _, n_nouns, *rest = fields.split()
            nouns = rest[: 2 * int(n_nouns, 16) : 2]
        except ValueError as error:
            raise DataError(f"{DATABASE.name} of {PACKAGE}, line {number}: not a line of WordNet") from error
        yield [noun.replace("_", " ") for noun in nouns], gloss.partition(";")[0].strip()
