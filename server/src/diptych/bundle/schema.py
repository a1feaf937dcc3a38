"""The types of `manifest.json` and the values that each key may have."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    JsonValue,
    model_validator,
)

from diptych.bundle.parity import Parity, broken_bounds
from diptych.bundle.part import Part

SCHEMA_VERSION = 3  # the newest that is read; a manifest states the lowest schema that has all of its keys
TENSORRT = "tensorrt"  # key of schema 2, of versions that held TensorRT plans: they are no longer read
MIN_LENGTH = 2  # of a text in tokens: the start and the end
CASED_SCHEMA = 3  # the schema that added `clip_cased` to `text.clean`
MANIFEST_FILE = "manifest.json"
TOKENIZER_FILE = "tokenizer.json"
GOLDEN_FILE = "golden.npz"
MATRYOSHKA_DIMENSIONS = "matryoshka_dimensions"  # key of `extra`
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# The lowest cosine to the float32 torch model that a machine may reach on the golden items.
# The most exact precision comes first.
COSINE_BOUNDS: dict[str, float] = {"fp32": 0.99999, "fp16": 0.999, "bf16": 0.99, "int8": 0.98}
# Precisions that a bundle has no graphs of: the processor computes the graphs of another one in them.
GRAPHS_OF: dict[str, str] = {"bf16": "fp32"}
GRAPH_PRECISIONS = tuple(name for name in COSINE_BOUNDS if name not in GRAPHS_OF)


def _plain_file_name(value: str) -> str:
    """Accept a bare file name only: no folder, no path out of the bundle, no hidden file."""
    if not FILE_NAME.fullmatch(value):
        raise ValueError("must be a plain file name of letters, digits, '.', '_' and '-'")
    if value == MANIFEST_FILE:
        raise ValueError(f"{MANIFEST_FILE} cannot list itself")
    return value


def _known_precision(value: str) -> str:
    if value not in GRAPH_PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(GRAPH_PRECISIONS)}")
    return value


def _template(value: str) -> str:
    if value.count("{}") != 1:
        raise ValueError("a template has exactly one {}")
    return value


def _finite_json(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse NaN and infinity, which JSON lacks: written as null, a number would silently change."""
    json.dumps(value, allow_nan=False)
    return value


FileName = Annotated[str, AfterValidator(_plain_file_name)]
PrecisionName = Annotated[str, AfterValidator(_known_precision)]
Template = Annotated[str, AfterValidator(_template)]
Channel = Annotated[int, Field(ge=0, le=255)]
Positive = Annotated[float, Field(gt=0)]
Json = Annotated[dict[str, JsonValue], AfterValidator(_finite_json)]


class ImageSpec(Part):
    """How a decoded image becomes the (size, size, 3) uint8 pixels that the image encoder takes."""

    size: int = Field(ge=1, le=4096)
    resize: int | None = Field(None, ge=1, le=4096)  # edge length to resize to before the crop; default size
    mode: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
    resize_mode: Literal["shortest", "longest", "squash"]
    fill_color: tuple[Channel, Channel, Channel] = (0, 0, 0)
    crop: Literal["round", "floor"]
    alpha: Literal["white", "drop"]
    exif: Literal["upright"] = "upright"

    @model_validator(mode="after")
    def _resizes_to_what_can_be_cropped(self) -> Self:
        if self.resize is not None and (self.resize < self.size or self.resize_mode == "longest"):
            raise ValueError(
                f"resize {self.resize} with size {self.size} and resize_mode {self.resize_mode}: "
                "resize must be at least size, and is not allowed with `longest`"
            )
        return self

    @property
    def resize_edge(self) -> int:
        """The edge length in pixels that an image is resized to, before the crop."""
        return self.resize or self.size


class TextSpec(Part):
    """How a text becomes input_ids, besides what `tokenizer.json` does."""

    context_length: int = Field(ge=1, le=8192)
    clean: Literal["none", "clip", "clip_cased", "canonical"]
    pad_to: Literal["longest", "context_length"]
    pad_id: int = Field(ge=0)
    prompts: dict[str, Annotated[list[Template], Field(min_length=1)]]  # named sets of templates

    @model_validator(mode="after")
    def _has_default_prompts(self) -> Self:
        if "default" not in self.prompts:
            raise ValueError("prompts must have a set named 'default'")
        return self

    @property
    def lengths(self) -> range:
        """The lengths in tokens that a batch of texts may have."""
        shortest = self.context_length if self.pad_to == "context_length" else MIN_LENGTH
        return range(min(shortest, self.context_length), self.context_length + 1)


class Precision(Part):
    """The two graphs of one precision, and their measured agreement with the trained model."""

    image_file: FileName
    text_file: FileName
    parity: Parity | None


class FileEntry(Part):
    """The size and sha256 that a file of the bundle must have."""

    sha256: str = Field(pattern=SHA256_PATTERN)
    bytes: int = Field(ge=0)


class ManifestDraft(Part):
    """The part of a manifest that the exporter states; publishing adds name, version, time and files."""

    family: Literal["clip", "siglip"]
    embed_dim: int = Field(ge=1, le=65536)
    logit_scale: Positive  # the multiplier, such as 100.0, not its logarithm
    logit_bias: float = 0.0
    image: ImageSpec
    text: TextSpec
    precisions: Annotated[dict[PrecisionName, Precision], Field(min_length=1)]
    source: Json
    metrics: Json
    data_card: str
    licence: str
    ungated: bool = False
    extra: Json = Field(default_factory=dict)

    @property
    def matryoshka_dimensions(self) -> tuple[int, ...]:
        """The numbers of dimensions to which embeddings may be cut and normalised again, ascending.

        None unless `extra` lists them: a cut is only good for models that were trained for it.
        """
        dims = self.extra.get(MATRYOSHKA_DIMENSIONS)
        return tuple(sorted(dim for dim in dims if isinstance(dim, int))) if isinstance(dims, list) else ()

    @property
    def served_precisions(self) -> tuple[str, ...]:
        """The precisions that the graphs can be served in, the most exact one first."""
        return tuple(name for name in COSINE_BOUNDS if GRAPHS_OF.get(name, name) in self.precisions)

    def graphs(self, precision: str) -> Precision:
        """The graphs that are run for one of `served_precisions`."""
        return self.precisions[GRAPHS_OF.get(precision, precision)]

    @property
    def lowest_schema(self) -> int:
        """The lowest schema that has all of this manifest's keys."""
        return max((schema for schema, _ in self._additions()), default=1)

    def _additions(self) -> Iterator[tuple[int, str]]:
        """The additions to the first schema: (the schema that added it, what older readers report)."""
        if self.text.clean == "clip_cased":
            yield CASED_SCHEMA, "text.clean: unknown value 'clip_cased'"

    @model_validator(mode="after")
    def _dimensions_can_be_cut_to(self) -> Self:
        dims = self.extra.get(MATRYOSHKA_DIMENSIONS, [])
        if not isinstance(dims, list) or not all(
            type(dim) is int and 1 <= dim <= self.embed_dim for dim in dims
        ):
            raise ValueError(
                f"extra.{MATRYOSHKA_DIMENSIONS} must be a list of whole numbers from 1 to embed_dim "
                f"({self.embed_dim}), got {dims!r:.80}"
            )
        return self

    @model_validator(mode="after")
    def _gated_precisions_have_parity(self) -> Self:
        unproven = [name for name, precision in self.precisions.items() if precision.parity is None]
        if unproven and not self.ungated:
            raise ValueError(f"precisions without parity need ungated: {', '.join(unproven)}")
        return self

    @model_validator(mode="after")
    def _gated_precisions_keep_their_bounds(self) -> Self:
        """Repeat the check of the export: the numbers in a manifest must keep the bounds that it claims."""
        broken = [
            f"precisions.{name}.parity: {'; '.join(sentences)}"
            for name, precision in self.precisions.items()
            if precision.parity is not None and (sentences := broken_bounds(precision.parity, name))
        ]
        if broken and not self.ungated:
            raise ValueError(f"{'; '.join(broken)}: only an ungated version may break its bounds")
        return self


class Manifest(ManifestDraft):
    """The complete manifest of a published bundle."""

    schema_version: int = Field(ge=1, le=SCHEMA_VERSION)
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    created_at: AwareDatetime
    files: dict[FileName, FileEntry]

    @model_validator(mode="after")
    def _has_only_what_its_schema_knows(self) -> Self:
        for schema, unknown in self._additions():
            if self.schema_version < schema:
                raise ValueError(f"{unknown} in schema_version {self.schema_version}")
        return self

    @model_validator(mode="after")
    def _lists_the_files_it_needs(self) -> Self:
        graphs = [file for part in self.precisions.values() for file in (part.image_file, part.text_file)]
        missing = [file for file in (TOKENIZER_FILE, GOLDEN_FILE, *graphs) if file not in self.files]
        if missing:
            raise ValueError(f"files does not list {', '.join(dict.fromkeys(missing))}")
        return self
