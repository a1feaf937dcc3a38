"""The licences under which art may be shared, by strictness."""

# Each has at least the requirements of those before it: none, notices, attribution, share-alike.
BY_STRICTNESS = (
    "CC0-1.0", "Unlicense", "0BSD", "MIT-0", "ISC", "MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0",
    "CC-BY-3.0", "CC-BY-4.0", "OFL-1.1", "CC-BY-SA-4.0",
)  # fmt: skip
RANKS = {name.casefold(): rank for rank, name in enumerate(BY_STRICTNESS)}


def is_open(licence: str | None) -> bool:
    """Whether a recorded licence is one that allows sharing the art itself, under that licence."""
    return licence is not None and licence.casefold() in RANKS
