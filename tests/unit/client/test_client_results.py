"""Each result is read from answers as `server/openapi.json` describes them."""

import inspect
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import httpx

import diptych_client
from diptych_client import Client, ModelRef, results
from diptych_client.operations import Calls
from diptych_client.results.common import Json
from support.documents import ROOT

API = json.loads((ROOT / "server" / "openapi.json").read_text(encoding="utf-8"))
MODEL = ModelRef("tiny", 1, "fp32")
EXAMPLES: dict[Any, object] = {"str": "a", "int": 1, "Sequence[str]": ["a"], "Mapping[str, Any]": {}}
"""Arguments for required parameters, by their types."""


def answers_of(client: Client, folder: Path) -> list[object]:
    """The results of all calls."""
    special: dict[str, Callable[[], object]] = {
        "embed": lambda: client.embed(images=[b"x"]),
        "classify": lambda: client.classify([b"x"], ["a"]),
        "classify_embeddings": lambda: client.classify_embeddings([[1.0]], ["a"], model=MODEL),
        "search": lambda: client.search("a"),
        "add": lambda: client.add([b"x"], collection="pets"),
        "add_vectors": lambda: client.add_vectors([[1.0]], model=MODEL, collection="pets"),
        "change_collection": lambda: client.change_collection("pets", keep="none"),
        "delete_images": lambda: client.delete_images("pets", lacking=True),
        "put_label_set": lambda: client.put_label_set("pets", "kind", ["a"]),
        "give_verdicts": lambda: client.give_verdicts("pets", "kind", {"a": "a"}),
        "push_model": lambda: client.push_model(folder),
    }
    files = {"original", "thumbnail", "model_card", "model_card_file", "export_labels"}
    empty = {"drop_collection", "drop_label_set", "delete_image", "revoke_key"}
    calls = {name for base in Calls.__mro__ for name in vars(base) if not name.startswith("_")}
    waiting = {"add_tar", "follow_job", "wait_for_rollout"}  # for the results of other calls
    return [
        special[name]() if name in special else called(getattr(client, name))
        for name in sorted(calls - files - empty - waiting)
    ]


def called(method: Callable[..., object]) -> object:
    """The result of a call with an example for each required parameter."""
    parameters = list(inspect.signature(method).parameters.values())
    return method(*(EXAMPLES[one.annotation] for one in parameters if one.default is one.empty))


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
    modules = [import_module(f"{results.__name__}.{one.name}") for one in iter_modules(results.__path__)]
    kinds = [one for module in modules for one in vars(module).values() if is_dataclass(one)]
    assert filled == {kind.__name__: {one.name for one in fields(kind)} for kind in kinds}
    assert {kind.__name__ for kind in kinds} - {*diptych_client.__all__} == set()
