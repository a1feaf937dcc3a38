"""Settle which licence the weights have, where both a checkpoint and a person say one; reads no files."""

from diptych_training.errors import ImportFailed

UNKNOWN = "unknown"


def agreed_licence(stated: str | None, said: str | None, where: str) -> str:
    """What `where` states, else what --licence says, else `unknown`.

    Raises ImportFailed if they contradict each other.
    """
    known = stated if stated != UNKNOWN else None
    if known and said and known.casefold() != said.casefold():
        raise ImportFailed(f"--licence {said} contradicts {where}, which says {known}: leave --licence out")
    return known or said or UNKNOWN
