"""`/keys`: make, list and revoke API keys."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from diptych.core.keys.key import MAX_COLLECTIONS, MAX_NAME_CHARS, Key, Scope
from diptych.http.access import GuardedRoute, needs, note_target
from diptych.http.description import request_body
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, Responses, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, media_type, unsupported
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.request_models import CollectionName, FailFastList, NoQuery, RequestModel
from diptych.http.respond import json_response
from diptych.http.state import Options, State

NO_FIRST_KEY = (
    "this server needs no key yet, so it cannot know who may make the first one: run `diptych keys create` "
    "on its machine, or start it with DIPTYCH_API_KEY"
)


def _require_text(value: object) -> object:
    if value is not None and not isinstance(value, str):
        raise ValueError("must be a text, such as 2030-01-31T00:00:00Z")
    return value


_PRINTABLE = r"^[^\s\x00-\x1f\x7f-\xa0]([^\x00-\x1f\x7f-\xa0]*[^\s\x00-\x1f\x7f-\xa0])?$"
_NO_LIMITED_ADMIN: schemas.Schema = {
    "not": {
        "required": ["collections"],
        "properties": {"collections": {"type": "array"}, "scopes": {"contains": {"const": "admin"}}},
    }
}


class KeyRequest(RequestModel):
    """`POST /keys`."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "name": "notebook",
                "scopes": ["write"],
                "collections": ["gallery"],
                "expires_at": "2099-01-31T00:00:00Z",
            },
            {"name": "deployment", "scopes": ["admin"]},
            **_NO_LIMITED_ADMIN,
        )
    )

    name: str = Field(
        min_length=1,
        max_length=MAX_NAME_CHARS,
        description="for people, and for the log: printable characters, no space at either end",
        json_schema_extra={"pattern": _PRINTABLE},
    )
    scopes: FailFastList[Scope] = Field(
        min_length=1, max_length=3, description="write includes read, admin includes both"
    )
    collections: FailFastList[CollectionName] | None = Field(
        None,
        min_length=1,
        max_length=MAX_COLLECTIONS,
        description="the only ones that the key sees; null: all. Not with scope admin",
    )
    expires_at: Annotated[AwareDatetime | None, BeforeValidator(_require_text)] = Field(
        None, description="ISO 8601 with a time zone; null: never"
    )


_EXAMPLE = {
    "prefix": "x4Tq9a",
    "name": "notebook",
    "scopes": ["write"],
    "collections": ["gallery"],
    "created_at": "2026-03-02T09:30:00Z",
    "expires_at": "2099-01-31T00:00:00Z",
    "last_used_at": None,
}


class KeyResponse(BaseModel):
    """An API key without its token. `prefix` is the public part of the token."""

    model_config = ConfigDict(json_schema_extra=schemas.example(_EXAMPLE))

    prefix: str
    name: str
    scopes: list[Scope]
    collections: list[str] | None = Field(description="the only ones that it sees; null: all")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="null if it was not used yet")

    @classmethod
    def of(cls, key: Key, last_used_at: datetime | None = None) -> "KeyResponse":
        """Convert the domain object."""
        return cls(**_fields(key), last_used_at=last_used_at)


class CreatedKeyResponse(KeyResponse):
    """A new API key. `key` is its token, which is shown only now."""

    model_config = ConfigDict(json_schema_extra=schemas.example({**_EXAMPLE, "key": "dk_x4Tq9a_..."}))

    key: str


class KeyList(BaseModel):
    """All keys of the key file, oldest first. `DIPTYCH_API_KEY` is none of them."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"keys": [_EXAMPLE]}))

    keys: list[KeyResponse]


router = APIRouter(tags=["keys"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_CREATED: Responses = {201: {"description": "The key, which is shown only now"}}


@router.get("/keys", summary="List API keys", response_model=KeyList)
@needs("admin", collections="all")
async def list_keys(request: Request, state: State, _: NoQuery) -> Response:
    """List the API keys, without their tokens."""
    found = [KeyResponse.of(key, last_used_at) for key, last_used_at in await state.keys.list()]
    return json_response(request, KeyList(keys=found))


@router.post(
    "/keys",
    summary="Create an API key",
    status_code=201,
    response_model=CreatedKeyResponse,
    responses=documented_errors(409, 507, *BODY_ERRORS) | _CREATED,
    openapi_extra=request_body(KeyRequest),
)
@needs("admin", collections="all", action="create key")
async def create_key(request: Request, state: State, options: Options, _: NoQuery) -> Response:
    """Make an API key. It is accepted at once; its token cannot be shown again.

    The first key of a server without `DIPTYCH_API_KEY` is made on its machine, by `diptych keys create`.
    """
    if not state.keys.required:
        raise HTTPException(403, NO_FIRST_KEY)
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    body = validated(KeyRequest, parse_json(await read_body(request, options.body)), strict=False)
    key, token = await state.keys.create(
        body.name, body.scopes, collections=body.collections, expires_at=body.expires_at
    )
    note_target(request, f"{key.prefix} {key.name}")
    response = json_response(request, CreatedKeyResponse(**_fields(key), last_used_at=None, key=token), 201)
    response.headers["Cache-Control"] = "no-store"
    return response


@router.delete(
    "/keys/{prefix}", summary="Revoke an API key", status_code=204, responses=documented_errors(404, 507)
)
@needs("admin", collections="all", action="revoke key")
async def revoke_key(state: State, prefix: str, _: NoQuery) -> Response:
    """Revoke the API key with this prefix: no later call is accepted with it. Calls that run are finished."""
    await state.keys.revoke(prefix)
    return Response(status_code=204)


def _fields(key: Key) -> dict[str, object]:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "scopes": key.scopes,
        "collections": None if key.collections is None else sorted(key.collections),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
