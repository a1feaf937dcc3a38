"""Builds the OpenAPI description: request bodies, security schemes and the limits of this server."""

import warnings

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from diptych.core.limits import Limits
from diptych.http.media_types import JSON, MULTIPART
from diptych.http.parsing.schemas import FILE, FILTER, REF, Schema, ref, with_limits

NO_KEY: Schema = {"security": []}  # for calls that need none even where others do


BINARY: Schema = {"schema": FILE}


_KEYS: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "the API key, where the server has one"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
}


def body_of(
    json_model: type[BaseModel] | None = None,
    form: Schema | None = None,
    raw: tuple[str, ...] = (),
) -> Schema:
    """What `openapi_extra` needs to describe the content types that a route accepts."""
    content: dict[str, Schema] = {}
    if json_model is not None:
        content[JSON] = {"schema": ref(json_model.__name__)}
    if form is not None:
        content[MULTIPART] = {
            "schema": form,
            "encoding": {name: _encoding(field) for name, field in form["properties"].items()},
        }
    content |= dict.fromkeys(raw, BINARY)
    return {"requestBody": {"required": True, "content": content}}


def _encoding(field: Schema) -> Schema:
    if "contentMediaType" in field:
        return {"contentType": field["contentMediaType"]}
    return {"style": "form", "explode": True}


def describe(app: FastAPI, unseen_models: tuple[type[BaseModel], ...], limits: Limits) -> Schema:
    """The OpenAPI description, with the key and with the models of bodies that FastAPI does not see."""
    with warnings.catch_warnings():  # HEAD has the id of its GET, and is not described
        warnings.filterwarnings("ignore", "Duplicate Operation ID")
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
    for calls in schema["paths"].values():
        calls.pop("head", None)
    _, definitions = models_json_schema([(model, "validation") for model in unseen_models], ref_template=REF)
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"], Filter=FILTER)
    components["securitySchemes"] = _KEYS
    schema["security"] = [*({name: []} for name in _KEYS), {}]  # none where the server was given no key
    for call in (call for calls in schema["paths"].values() for call in calls.values()):
        if "parameters" in call:
            call["parameters"] = [_parameter(one) for one in call["parameters"] if _is_taken(one)]
    described: Schema = with_limits(schema, limits)
    return described


def _is_taken(parameter: Schema) -> bool:
    """False for one that has no value which is not refused."""
    return bool(parameter["schema"].get("type") != "null")


def _parameter(parameter: Schema) -> Schema:
    """One that holds JSON is described by what is in it."""
    content = parameter["schema"].get("contentSchema")
    if content is None:
        return parameter
    rest = {key: value for key, value in parameter.items() if key != "schema"}
    return {**rest, "content": {JSON: {"schema": content}}}
