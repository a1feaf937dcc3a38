"""The base of every part of a manifest; knows none of them."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Unknown keys are refused and values are fixed: a reader that guesses serves wrong vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
