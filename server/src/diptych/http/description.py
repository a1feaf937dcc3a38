"""Builds the OpenAPI description: request bodies, security schemes and the limits of this server."""

import warnings
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from diptych.core.limits import Limits
from diptych.http.access import access_table
from diptych.http.errors.documented_errors import share_errors
from diptych.http.errors.problem_json import HuggingFaceError, OpenAIError, Problem
from diptych.http.media_types import JSON, MULTIPART, TEXT
from diptych.http.parsing.schemas import EXAMPLE_FILE, FILE, FILTER, REF, Schema, ref, with_limits

NO_KEY: Schema = {"security": []}  # for calls that never need the key


BINARY: Schema = {"schema": FILE, "example": EXAMPLE_FILE}
_TEXT: Schema = {"schema": FILE, "example": "a cat"}


_KEYS: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key, if the server needs one"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
}

_TAGS: list[Schema] = [
    {"name": "encode", "description": "Texts and images as vectors of one space, and labels for images."},
    {
        "name": "search",
        "description": "Find images of collections by texts, images, or words of their names and metadata.",
    },
    {"name": "collections", "description": "Keep images and vectors, with metadata, and browse them."},
    {"name": "labels", "description": "Sort images by labels that stay, and correct them."},
    {"name": "jobs", "description": "Long additions of images: their progress and outcomes."},
    {"name": "models", "description": "Models and their versions, and rollouts of another version."},
    {"name": "keys", "description": "API keys: make, list and revoke them."},
    {"name": "operate", "description": "For supervisors and Prometheus."},
    {"name": "OpenAI", "description": "Embeddings for clients of OpenAI, infinity, Jina and vLLM."},
    {"name": "Hugging Face", "description": "Tasks for the inference clients of Hugging Face."},
]


# Of parameters that are required or hold JSON. The gallery has these.
_EXAMPLES: dict[str, Any] = {
    "collection": "gallery",
    "file": "confusions.png",
    "filter": {"kind": "drawing"},
    "id": "cat",
    "label_set": "kind",
    "library": "photos",
    "job": "3f9a0c71d2b84e6582cd1b04a9e6f753",
    "name": "everyday",
    "model": "everyday",
    "prefix": "x4Tq9a",
    "q": "a red car",
    "field": "exif.taken_at",
    "rollout": "9f2c41d07be84a53",
    "version": 1,
}


class RequestBody(dict[str, Any]):
    """The `openapi_extra` of a route, with the models that it refers to, which FastAPI does not see."""

    models: tuple[type[BaseModel], ...] = ()


def request_body(
    json_model: type[BaseModel] | None = None,
    form: Schema | None = None,
    raw: tuple[str, ...] = (),
    *,
    form_models: tuple[type[BaseModel], ...] = (),
    required: bool = True,
) -> RequestBody:
    """The `openapi_extra` of a route: the content types that it accepts.

    `form_models`: those that fields of the form refer to, which hold JSON.
    """
    content: dict[str, Schema] = {}
    if json_model is not None:
        content[JSON] = {"schema": ref(json_model.__name__)}
    if form is not None:
        content[MULTIPART] = {
            "schema": form,
            "encoding": {name: _encoding(field) for name, field in form["properties"].items()},
        }
    content |= {kind: _TEXT if kind == TEXT else BINARY for kind in raw}
    body = RequestBody(requestBody={"required": required, "content": content})
    body.models = form_models if json_model is None else (json_model, *form_models)
    return body


def _encoding(field: Schema) -> Schema:
    if "contentMediaType" in field:
        return {"contentType": field["contentMediaType"]}
    return {"style": "form", "explode": True}


def describe(app: FastAPI, routes: Sequence[APIRoute], limits: Limits) -> Schema:
    """The OpenAPI description, with the API key and the models of bodies, which FastAPI does not know."""
    with warnings.catch_warnings():  # HEAD has the operation id of its GET; it is removed below
        warnings.filterwarnings("ignore", "Duplicate Operation ID")
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            tags=_TAGS,
            routes=app.routes,
        )
    for calls in schema["paths"].values():
        calls.pop("head", None)
    models = _models_of_bodies(routes)
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REF)
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"], Filter=FILTER)
    for model in _models_of_responses(routes):  # FastAPI leaves out what is null in an example
        if examples := model.model_json_schema().get("examples"):
            components["schemas"][model.__name__]["examples"] = examples
    components["securitySchemes"] = _KEYS
    components["responses"] = share_errors(schema["paths"], access_table(routes))
    schema["security"] = [*({name: []} for name in _KEYS), {}]  # {}: no key, for servers without one
    for call in (call for calls in schema["paths"].values() for call in calls.values()):
        if "parameters" in call:
            call["parameters"] = [
                _describe_parameter(parameter)
                for parameter in call["parameters"]
                if _has_valid_value(parameter)
            ]
    description: Schema = with_limits(schema, limits)
    return description


def _models_of_bodies(routes: Sequence[APIRoute]) -> list[type[BaseModel]]:
    """The models of request bodies, and of errors, which only `$ref`s name."""
    bodies = [route.openapi_extra for route in routes if isinstance(route.openapi_extra, RequestBody)]
    return [*(model for body in bodies for model in body.models), Problem, OpenAIError, HuggingFaceError]


def _models_of_responses(routes: Sequence[APIRoute]) -> set[type[BaseModel]]:
    others = [response.get("model") for route in routes for response in route.responses.values()]
    return {model for model in (*others, *(route.response_model for route in routes)) if model is not None}


def _has_valid_value(parameter: Schema) -> bool:
    """False for a parameter that rejects every value."""
    return bool(parameter["schema"].get("type") != "null")


def _describe_parameter(parameter: Schema) -> Schema:
    """Describe a parameter that holds JSON by the schema of that JSON; a required one has an example.

    /docs fills in examples, which is of no use for what may be left out; but for JSON it makes one up
    if there is none.
    """
    if parameter["required"] and parameter["name"] in _EXAMPLES:
        parameter = {**parameter, "example": _EXAMPLES[parameter["name"]]}
    content = parameter["schema"].get("contentSchema")
    if content is None:
        return parameter
    rest = {key: value for key, value in parameter.items() if key != "schema"}
    return {**rest, "content": {JSON: {"schema": content, "example": _EXAMPLES[parameter["name"]]}}}
