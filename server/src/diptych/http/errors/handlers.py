"""Turn every error that leaves a route into an answer. Knows no route."""

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from diptych.errors import CorruptStore, DiptychError, InvalidValue
from diptych.http.context import context_of
from diptych.http.errors.problem_json import respond_error, respond_http, status_of
from diptych.http.errors.validation import first_invalid
from diptych.http.state import state_of

LOG = logging.getLogger("diptych.http")
_PLACES = frozenset({"query", "path", "header", "body"})


def add_handlers(app: FastAPI) -> None:
    """Ours, pydantic's and Starlette's; what is none of these is a bare 500 made at the door."""
    app.add_exception_handler(DiptychError, _ours)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, DiptychError), "registered for this class"
    if status_of(error) == 500:
        fields = {"request_id": context_of(request).request_id}
        if isinstance(error, CorruptStore) and error.logged:  # its message, and so its traceback, has an id
            LOG.error("request failed: %s", error.logged, extra={"fields": fields})
        else:
            LOG.error("request failed", exc_info=error, extra={"fields": fields})
    state_of(request).count_disk_refusals(error)
    return respond_error(request, error)


async def _parameters(request: Request, error: Exception) -> Response:
    """Parameters of query string and path, which FastAPI validates."""
    assert isinstance(error, RequestValidationError), "registered for this class"
    findings = [
        {**one, "loc": [step for step in one["loc"] if step not in _PLACES]} for one in error.errors()
    ]
    names = {step: None for one in findings for step in one["loc"]}
    if findings[0]["type"] == "extra_forbidden":
        name, known = str(findings[0]["loc"][0]), _parameters_of(request.scope["route"])
        there_is = f"there is: {', '.join(known)}" if known else "this call has none in its query string"
        return respond_error(
            request, InvalidValue(f"no such parameter is known here, {there_is}", name[:100])
        )
    return respond_error(request, first_invalid(findings, names))


def _parameters_of(route: APIRoute) -> list[str]:
    """What its query string may say."""
    (field,) = route.dependant.query_params
    model = field.field_info.annotation
    assert isinstance(model, type) and issubclass(model, BaseModel), "query strings are models"
    return sorted(model.model_fields)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    headers = dict(error.headers or {})
    detail = error.detail
    if error.status_code == 408:
        state_of(request).count_rejected("body_timeout")
    if error.status_code == 404:
        detail = f"there is no {request.url.path[:200]}"
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        detail = f"{request.method} is not one of {headers['Allow']}"
    return respond_http(request, error.status_code, detail, headers)
