"""The models that teach a new one (`distill`); opens none."""

from typing import Annotated

from pydantic import Field, field_validator

from diptych_training.models.frozen import Frozen


class DistillConfig(Frozen):
    """Learn from other models beside the captions: their mean probabilities over every batch.

    `teachers`: runs (by name or folder; their best checkpoint) and versions of a model repository
    (NAME/VERSION or folder). The loss is ``(1 - weight) * contrastive + weight * distillation``.
    """

    teachers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    weight: float = Field(default=0.5, gt=0, le=1)

    @field_validator("teachers")
    @classmethod
    def _each_once(cls, teachers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(teachers)) < len(teachers):
            raise ValueError("must name each teacher once")
        return teachers
