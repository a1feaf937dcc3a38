"""The base class of every part of a manifest."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Refuses unknown keys and is immutable: a reader that guessed would serve wrong vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
