"""What several results share: JSON, and references to model versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class ModelRef:
    """The model version that made an answer, with its precision and its mode of decoding images."""

    name: str
    version: int
    precision: str
    decode: str = "exact"

    def __str__(self) -> str:
        kind = self.precision if self.decode == "exact" else f"{self.precision}, {self.decode} decoding"
        return f"{self.name}/{self.version} ({kind})"


@dataclass(frozen=True)
class VersionRef:
    """One version of a model.

    `bundle`: the sha256 of its manifest. `precision`: the one that it is served in. Both are empty where the
    server does not say them.
    """

    name: str
    version: int
    bundle: str = field(default="", kw_only=True, compare=False)
    precision: str = field(default="", kw_only=True, compare=False)

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def exact(self) -> str:
        """The version with its content, such as "mine/4 (3fa1c0de)", where two may have one number."""
        return f"{self} ({self.bundle[:8]})" if self.bundle else str(self)
