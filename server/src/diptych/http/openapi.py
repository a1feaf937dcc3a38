"""Describe the bodies that routes read themselves, and the whole API. Knows no route by name.

`python -m diptych.http.openapi FILE` writes the description; the committed one is server/openapi.json.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from diptych.core.services import Services
from diptych.http.content import JSON, MULTIPART

Schema = dict[str, Any]
_REF = "#/components/schemas/{model}"

FILES: Schema = {"type": "array", "items": {"type": "string", "format": "binary"}}
STRINGS: Schema = {"type": "array", "items": {"type": "string"}}
NO_KEY: Schema = {"security": []}  # for calls that need none even where others do
BINARY: Schema = {"schema": {"type": "string", "format": "binary"}}

_KEYS: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "the API key, where the server has one"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
}


def body_of(
    json_model: type[BaseModel] | None = None,
    form: Mapping[str, Schema] | None = None,
    raw: tuple[str, ...] = (),
) -> Schema:
    """What `openapi_extra` needs to describe the content types that a route accepts."""
    content: dict[str, Schema] = {}
    if json_model is not None:
        content[JSON] = {"schema": {"$ref": _REF.format(model=json_model.__name__)}}
    if form is not None:
        content[MULTIPART] = {
            "schema": {"type": "object", "properties": dict(form)},
            "encoding": {name: {"style": "form", "explode": True} for name in form},
        }
    content |= dict.fromkeys(raw, BINARY)
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI, unseen_models: tuple[type[BaseModel], ...]) -> Schema:
    """The OpenAPI description, with the key and with the models of bodies that FastAPI does not see."""
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, definitions = models_json_schema([(model, "validation") for model in unseen_models], ref_template=_REF)
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components["securitySchemes"] = _KEYS
    schema["security"] = [*({name: []} for name in _KEYS), {}]  # none where the server was given no key
    return schema


def description_text() -> str:
    """The committed form of the description: sorted and indented, so that changes read well."""
    from diptych.http.app import create_app  # noqa: PLC0415 - the app describes itself with this module

    return json.dumps(create_app(_never).openapi(), indent=1, sort_keys=True) + "\n"


async def _never() -> Services:
    return _unreachable()


def _unreachable() -> NoReturn:
    raise AssertionError("an app that is only described never loads")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(description_text())
