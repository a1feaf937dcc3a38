"""Progress bars for work that has several parts, one after the other."""

from types import TracebackType
from typing import Any, Self

from tqdm import tqdm


class ProgressBars:
    """Satisfies `diptych.core.backup.Report`: one bar for each part, on stderr if that is a terminal."""

    def __init__(self, *, hidden: bool) -> None:
        self._hidden = hidden
        self._bar: tqdm[Any] | None = None

    def begin(self, work: str, n_steps: int) -> None:
        """End the current part and begin another of `n_steps` steps."""
        self._end()
        self._bar = tqdm(desc=work, total=n_steps, unit_scale=True, disable=True if self._hidden else None)

    def advance(self, n_steps: int = 1) -> None:
        """Count `n_steps` more steps of this part as done."""
        if self._bar is not None:
            self._bar.update(n_steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.close()
