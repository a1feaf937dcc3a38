"""Each result is read from answers as `server/openapi.json` describes them."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import httpx

from diptych_client import Client, ModelRef, results
from diptych_client.results import Json
from support.documents import ROOT

API = json.loads((ROOT / "server" / "openapi.json").read_text(encoding="utf-8"))


def answers_of(client: Client, folder: Path) -> list[object]:
    """The results of all calls whose results differ."""
    return [
        client.embed(images=[b"x"]),
        client.classify([b"x"], ["a"]),
        client.search("a"),
        client.add([b"x"], collection="pets"),
        client.add_vectors([[1.0]], model=ModelRef("tiny", 1, "fp32"), collection="pets"),
        client.collections(),
        client.create_collection("pets"),
        client.collection("pets"),
        client.change_collection("pets", keep="none"),
        client.list_images("pets"),
        client.fields("pets"),
        client.duplicates("pets"),
        client.get_image("pets", "a"),
        client.patch_image("pets", "a", {}),
        client.find_images("pets", ["a"]),
        client.delete_images("pets", lacking=True),
        client.jobs(),
        client.job("a"),
        client.cancel_job("a"),
        client.job_outcomes("a"),
        client.models(),
        client.model_version("tiny", 1),
        client.activate("tiny", 1),
        client.rollouts(),
        client.rollout("a"),
        client.cancel_rollout("a"),
        client.rollout_status(),
        client.compare_versions("tiny", 1, 2),
        client.keys(),
        client.create_key("a"),
        client.version(),
        client.ready(),
        client.push_model(folder),
    ]


def schema_of(request: httpx.Request) -> Json:
    """The schema of the successful answer to a request."""
    for template, methods in API["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), request.url.path):
            for status, response in methods.get(request.method.lower(), {}).get("responses", {}).items():
                if status.startswith("2"):
                    schema: Json = response["content"]["application/json"]["schema"]
                    return schema
    raise LookupError(f"{request.method} {request.url.path} is not described")


def example(schema: Json, *, with_null: bool) -> Any:
    """A value of a schema, with all properties: null where it may be, or else other than the defaults."""
    if "$ref" in schema:
        schema = API["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        kinds = [one for one in schema["anyOf"] if (one.get("type") == "null") == with_null]
        return example((kinds or schema["anyOf"])[-1], with_null=with_null)
    if "enum" in schema:
        return schema["enum"][-1]
    match schema.get("type"):
        case "object":
            named = schema.get("properties") or {"any": schema.get("additionalProperties") or {}}
            return {name: example(one, with_null=with_null) for name, one in named.items() if one is not True}
        case "array":
            return [example(schema["items"], with_null=with_null)]
        case kind:
            others = {"integer": 409, "number": 409, "boolean": not with_null, "null": None}
            return others.get(kind, "AAAAAA==")  # base64 of a float32, too


def values_in(value: object) -> Iterator[Any]:
    """All dataclasses in a result."""
    if is_dataclass(value):
        yield value
        value = vars(value)
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        for inner in value:
            yield from values_in(inner)


def results_of_all_calls(folder: Path, *, with_null: bool) -> list[Any]:
    def reply(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=example(schema_of(request), with_null=with_null))

    (folder / "manifest.json").write_text('{"name": "mine", "files": {}}')
    with Client(transport=httpx.MockTransport(reply)) as client:
        return list(values_in(answers_of(client, folder)))


def is_default(one: Field[Any], value: object) -> bool:
    default = one.default if one.default_factory is MISSING else one.default_factory()
    return bool(getattr(value, one.name) == default)


def test_every_result_is_read_with_all_its_fields_and_with_every_null(tmp_path: Path) -> None:
    filled: dict[str, set[str]] = defaultdict(set)
    for with_null in (False, True):
        for value in results_of_all_calls(tmp_path, with_null=with_null):
            filled[type(value).__name__] |= {one.name for one in fields(value) if not is_default(one, value)}
    kinds = [getattr(results, name) for name in results.__all__]
    assert filled == {
        kind.__name__: {one.name for one in fields(kind)} for kind in kinds if is_dataclass(kind)
    }
