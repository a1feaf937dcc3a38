"""The schemas in the API description state what the server rejects, with the limits of this server."""

import asyncio
import json
from functools import cache
from typing import Any

from diptych.core.limits import Limits
from diptych.core.services import Services
from diptych.http.app import create_app
from diptych.http.options import HttpOptions


async def load_for_ever() -> Services:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits that long")


@cache
def described(**limits: int) -> dict[str, Any]:
    return create_app(load_for_ever, HttpOptions(limits=Limits(**limits))).openapi()


def model(name: str, **limits: int) -> dict[str, Any]:
    found: dict[str, Any] = described(**limits)["components"]["schemas"][name]
    return found


def form(path: str, **limits: int) -> dict[str, Any]:
    content = described(**limits)["paths"][path]["post"]["requestBody"]["content"]
    found: dict[str, Any] = content["multipart/form-data"]["schema"]
    return found


def parameters(path: str, **limits: int) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in described(**limits)["paths"][path]["get"]["parameters"]}


def test_described_limits_are_the_settings_of_this_server() -> None:
    assert model("EmbedRequest", max_items=7)["properties"]["input"]["maxItems"] == 7
    assert form("/embed", max_items=7)["properties"]["text"]["maxItems"] == 7
    text, _ = model("EmbedItem", max_text_chars=80)["properties"]["text"]["anyOf"]
    assert text["maxLength"] == 80
    given, _ = model("OpenAIEmbeddingRequest", max_openai_inputs=9)["properties"]["input"]["anyOf"]
    _, items = given["oneOf"]
    assert (items["minItems"], items["maxItems"]) == (1, 9)
    k = parameters("/search", max_k=20)["k"]["schema"]
    assert (k["minimum"], k["maximum"]) == (1, 20)
    assert parameters("/jobs/{job}/outcomes", max_page_items=3)["limit"]["schema"]["maximum"] == 3
    assert "x-limits" not in json.dumps(described())


def test_filters_are_described_in_every_request_that_has_one() -> None:
    reference = {"$ref": "#/components/schemas/Filter"}
    assert parameters("/search")["filter"]["content"]["application/json"]["schema"] == reference
    assert form("/search")["properties"]["filter"]["$ref"] == reference["$ref"]
    for name in ("SearchRequest", "DeletionRequest"):
        assert reference in model(name)["properties"]["filter"]["anyOf"]
    operators = model("Filter")["additionalProperties"]["anyOf"][1]["properties"]
    assert set(operators) == {"eq", "ne", "in", "lt", "lte", "gt", "gte", "on", "contains", "under", "exists"}
