"""The request model of `/v1/embeddings`: bodies of clients of OpenAI, infinity, Jina and vLLM."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

from diptych.core.limits import Limits
from diptych.errors import InvalidValue
from diptych.http.endpoints.dialects.items import (
    EXAMPLE_IMAGE,
    Item,
    TextOr,
    TextOrDataUri,
    check_image_count,
    parse_image_string,
    parse_text_or_data_uri,
)
from diptych.http.errors.validation import validated
from diptych.http.parsing import schemas
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.limits import check_count, check_lengths, check_text
from diptych.http.parsing.request_models import (
    FailFastList,
    NonNegativeInt,
    RequestModel,
    require_exactly_one,
)

MAX_MESSAGES = 16  # and parts of a message: one of them is embedded, the others may only be blank
Encoding = Literal["float", "base64", "binary", "ubinary"]
Text = Annotated[str, WithJsonSchema(schemas.TEXT)]
AnyImage = Annotated[str, WithJsonSchema(schemas.ANY_IMAGE)]
ImageLink = Annotated[str, WithJsonSchema(schemas.IMAGE_URI)]
FileBase64 = Annotated[str, WithJsonSchema(schemas.IMAGE_BASE64)]


class OpenAIItem(RequestModel):
    """One text or image, as clients of Jina send it."""

    model_config = ConfigDict(json_schema_extra=schemas.exactly_one("text", "image", "url", "bytes"))

    text: Text | None = None
    image: AnyImage | None = Field(None, description="data URI, URL, or base64 of the file")
    url: ImageLink | None = Field(None, description="data URI or URL of an image")
    bytes: FileBase64 | None = Field(None, description="base64 of an image file")

    @model_validator(mode="after")
    def _one(self) -> Self:
        return require_exactly_one(self, "text", "image", "url", "bytes")


class OpenAIImageUrl(RequestModel):
    """The image of a message."""

    url: ImageLink
    detail: str | None = Field(None, description="ignored")


class OpenAIMessagePart(RequestModel):
    """A text or an image of a message."""

    model_config = ConfigDict(
        json_schema_extra=schemas.exactly_one("text", "image_url", given={"type": ["string", "object"]})
    )

    type: Literal["text", "image_url"]
    text: Text | None = None
    image_url: OpenAIImageUrl | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        require_exactly_one(self, "text", "image_url")
        if getattr(self, self.type) is None:
            raise ValueError(f"has the type {self.type} without a {self.type}")
        return self


class OpenAIMessage(RequestModel):
    """A message of a conversation, as clients of vLLM send it."""

    role: str
    content: TextOr[Text, FailFastList[OpenAIMessagePart]]


Input = Annotated[
    FailFastList[TextOr[TextOrDataUri, OpenAIItem]],
    Field(min_length=1, json_schema_extra=schemas.limited(maxItems="max_openai_inputs")),
]
_REQUESTS: list[JsonValue] = [
    {"model": "everyday", "input": ["a cat", "a dog"]},
    {"model": "everyday", "input": [f"data:image/png;base64,{EXAMPLE_IMAGE}"], "modality": "image"},
    {"model": "everyday", "input": [{"text": "a cat"}, {"bytes": EXAMPLE_IMAGE}]},
]


class OpenAIEmbeddingRequest(RequestModel):
    """`POST /v1/embeddings`: `input`, or `messages` as vLLM takes them, for one text or image."""

    model_config = ConfigDict(
        json_schema_extra={
            **schemas.exactly_one("input", "messages", given={"type": ["string", "array"]}),
            "examples": _REQUESTS,
        }
    )

    input: TextOr[TextOrDataUri, Input] | None = Field(
        None, description="a text or an image, or a list of them; a data URI is an image"
    )
    messages: FailFastList[OpenAIMessage] | None = Field(
        None, min_length=1, max_length=MAX_MESSAGES, description="that hold one text or one image in all"
    )
    model: str
    modality: Literal["text", "image"] | None = Field(
        None, description="`image`: strings of `input` are data URIs, URLs or base64 of images"
    )
    encoding_format: Encoding | None = Field(
        None, description="`binary` and `ubinary`: a bit for each dimension, as int8 and as uint8"
    )
    encoding_type: Encoding | None = Field(None, description="the same, as clients of Jina call it")
    embedding_type: Encoding | None = Field(None, description="the same, as Jina's documentation calls it")
    dimensions: NonNegativeInt | None = Field(
        None, description="fewer than the model's only where its version allows it; 0: the model's"
    )
    output_dimension: NonNegativeInt | None = Field(None, description="the same, as LiteLLM calls it")
    normalized: Literal[True] | None = Field(None, description="embeddings have unit norm always")
    late_chunking: Literal[False] | None = Field(None, description="not done")
    task: str | None = Field(None, description="ignored: queries and documents are embedded alike")
    input_type: str | None = Field(None, description="ignored, as `task`")
    user: str | None = Field(None, description="ignored")

    @property
    def encoding(self) -> Encoding:
        """How the answer holds embeddings."""
        return self.encoding_format or self.encoding_type or self.embedding_type or "float"


ParsedRequest = tuple[OpenAIEmbeddingRequest, Sequence[Item]]


def parse_embedding_request(payload: bytearray, limits: Limits) -> ParsedRequest:
    """The request and the items to embed. Raises InputError that names the item."""
    data = check_lengths(parse_json(payload), {"input": limits.max_openai_inputs, "messages": MAX_MESSAGES})
    body = validated(OpenAIEmbeddingRequest, _without_tokens(data))
    if (body.input is None) == (body.messages is None):
        raise InvalidValue("needs exactly one of input and messages", "input")
    if body.messages is not None:
        return body, [_of_messages(body.messages, limits)]
    given = [body.input] if isinstance(body.input, str) else body.input or []
    check_count(given, "input", limits.max_openai_inputs)
    as_image = body.modality == "image"
    items = [_of_input(one, f"input[{i}]", limits, as_image=as_image) for i, one in enumerate(given)]
    check_image_count(items, "input", limits)
    return body, items


def _of_input(given: str | OpenAIItem, name: str, limits: Limits, *, as_image: bool) -> Item:
    if isinstance(given, str):
        parse = parse_image_string if as_image else parse_text_or_data_uri
        return parse(given, name, limits)
    if given.text is not None:
        return parse_text_or_data_uri(given.text, name, limits)
    image = given.image or given.url or given.bytes
    return parse_image_string(image or "", name, limits)


def _of_messages(messages: Sequence[OpenAIMessage], limits: Limits) -> Item:
    """The only text or image of a conversation. Raises InvalidValue if there are more, or none."""
    found = list(_contents(messages))
    if len(found) != 1:
        message = f"hold {len(found)} texts and images in all, but an embedding is of one text or one image"
        raise InvalidValue(message, "messages")
    ((name, part),) = found
    if isinstance(part, str):
        return check_text(part, name, limits)
    return parse_image_string(part.url, name, limits)


def _contents(messages: Sequence[OpenAIMessage]) -> Iterator[tuple[str, str | OpenAIImageUrl]]:
    """The texts that are not blank and the images, each with its place in the request."""
    for i, message in enumerate(messages):
        name = f"messages[{i}].content"
        if isinstance(message.content, str):
            parts: list[tuple[str, str | OpenAIImageUrl | None]] = [(name, message.content)]
        else:
            parts = [(f"{name}[{n}]", part.image_url or part.text) for n, part in enumerate(message.content)]
        for place, part in parts:
            if isinstance(part, OpenAIImageUrl) or (part and part.strip()):
                yield place, part


def _without_tokens(data: object) -> object:
    """Return the parsed JSON. Raises InvalidValue for token ids, which are those of another model."""
    value = data.get("input") if isinstance(data, dict) else None
    first = value[0] if isinstance(value, list) and value else None
    first = first[0] if isinstance(first, list) and first else first
    if isinstance(first, int) and not isinstance(first, bool):
        message = (
            "holds token ids, which are those of another model's tokenizer: send texts "
            "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))"
        )
        raise InvalidValue(message, "input")
    return data
