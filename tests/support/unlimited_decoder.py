"""A decoder process on a system that does not let it set limits."""

import resource

from diptych.adapters.images.decoder_child import main


def _refuse(kind: int, limits: tuple[int, int]) -> None:
    raise ValueError("not allowed to raise maximum limit")


if __name__ == "__main__":
    resource.setrlimit = _refuse
    main()
