"""`diptych-train data wordnet`: write nouns of WordNet, their definitions and synonyms as texts to teach."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych_training.data.debian import add_deb_flag, read_file, unpacked
from diptych_training.data.pairs.tools.flags import positive
from diptych_training.errors import DataError
from diptych_training.files import write_text
from diptych_training.paths import wordnet_dir

PACKAGE = "wordnet-base"
DATABASE, INDEX = (Path("usr/share/wordnet") / name for name in ("data.noun", "index.noun"))
COPYRIGHT = Path("usr/share/doc") / PACKAGE / "copyright"
NOUNS, GLOSSES, SYNONYMS = "nouns.txt", "glosses.txt", "synonyms.tsv"
N_WORDS = 16  # of a definition


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wordnet` to the commands of `data`."""
    parser = subparsers.add_parser(
        "wordnet",
        help="write the nouns of WordNet, their definitions and synonyms",
        description=f"Fetches Debian's {PACKAGE} (6 MB) with apt-get and writes WordNet 3.0's nouns "
        f"({NOUNS}) and their definitions ({GLOSSES}), a text a line, for `text_teacher.texts` of a recipe, "
        f"and nouns with their synonyms ({SYNONYMS}) for `data.captions.synonyms`.",
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
    """Write the files and print how many texts they have."""
    with unpacked(PACKAGE, args.deb) as package:
        n_nouns, n_glosses = write_texts(package, args.out, args.words)
        n_synonyms = write_synonyms(package, args.out)
    print(f"{args.out / NOUNS}: {n_nouns:,} nouns\n{args.out / GLOSSES}: {n_glosses:,} definitions")
    print(f"{args.out / SYNONYMS}: {n_synonyms:,} nouns with synonyms")
    return 0


def write_texts(package: Path, out: Path, n_words: int = N_WORDS) -> tuple[int, int]:
    """Write nouns, and definitions of at most `n_words` words, of an unpacked package, with its licence; how
    many of each.

    Raises DataError if the package has no such database.
    """
    lines = read_file(PACKAGE, package / DATABASE).decode("utf-8").splitlines()
    licence = read_file(PACKAGE, package / COPYRIGHT).decode("utf-8")
    found = list(_synsets(lines))
    nouns = sorted({noun for synset in found for noun in synset.nouns})
    glosses = sorted({synset.gloss for synset in found if len(synset.gloss.split()) <= n_words})
    for name, texts in ((NOUNS, nouns), (GLOSSES, glosses)):
        write_text(out / name, "".join(f"{text}\n" for text in texts))
    write_text(out / "COPYRIGHT", licence)
    return len(nouns), len(glosses)


def write_synonyms(package: Path, out: Path) -> int:
    """Write each noun with its synonyms in its first sense, which must be the first sense of the synonym too;
    how many nouns.

    Senses are in the order of their frequency, so "bat" (the animal) has no synonym "at-bat". Raises
    DataError if the package has no such database.
    """
    index = read_file(PACKAGE, package / INDEX).decode("utf-8").splitlines()
    first_sense = {noun: sense for noun, sense in map(_first_sense, index) if sense}
    rows = []
    for synset in _synsets(read_file(PACKAGE, package / DATABASE).decode("utf-8").splitlines()):
        nouns = [noun for noun in synset.nouns if first_sense.get(noun.lower()) == synset.offset]
        rows += [[noun, *(other for other in nouns if other != noun)] for noun in nouns]
    lines = sorted("\t".join(row) for row in rows if len(row) > 1)
    write_text(out / SYNONYMS, "".join(f"{line}\n" for line in lines))
    return len(lines)


@dataclass(frozen=True)
class _Synset:
    """A set of synonyms, and its definition without examples. `offset` is its place in the database."""

    offset: str
    nouns: list[str]
    gloss: str


def _first_sense(line: str) -> tuple[str, str]:
    """A noun in lower case and the offset of its first sense, which is empty for lines of the licence."""
    if line.startswith("  "):
        return "", ""
    noun, _, n_senses, *_ = line.split()
    return noun.replace("_", " "), line.split()[-int(n_senses)]


def _synsets(lines: Sequence[str]) -> Iterator[_Synset]:
    """The nouns of each set of synonyms, and its definition without examples; see wndb(5WN)."""
    for number, line in enumerate(lines, start=1):
        if line.startswith("  "):  # the licence
            continue
        fields, _, gloss = line.partition(" | ")
        try:
            offset, _, _, n_nouns, *rest = fields.split()
            nouns = rest[: 2 * int(n_nouns, 16) : 2]
        except ValueError as error:
            raise DataError(f"{DATABASE.name} of {PACKAGE}, line {number}: not a line of WordNet") from error
        names = [noun.replace("_", " ") for noun in nouns]
        yield _Synset(offset, names, gloss.partition(";")[0].strip())
