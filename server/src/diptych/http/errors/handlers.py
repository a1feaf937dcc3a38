"""Exception handlers: turn each exception that leaves a route into an error response."""

import logging
from collections.abc import Collection, Mapping
from functools import partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from diptych.errors import CorruptStore, DiptychError
from diptych.http.context import context_of
from diptych.http.errors.problem_json import respond_error, respond_http, status_of
from diptych.http.errors.validation import first_invalid
from diptych.http.query import query_model, unknown_parameter
from diptych.http.state import state_of

LOG = logging.getLogger("diptych.http")
_LOCATIONS = frozenset({"query", "path", "header", "body"})


def add_handlers(app: FastAPI, methods: Mapping[str, Collection[str]]) -> None:
    """Register handlers for DiptychError and the errors of FastAPI and Starlette.

    `methods`: those of each path, of all its routes.

    The access log middleware turns all other exceptions into a 500.
    """
    app.add_exception_handler(DiptychError, _handle_diptych_error)
    app.add_exception_handler(RequestValidationError, _handle_invalid_parameters)
    app.add_exception_handler(HTTPException, partial(_handle_http_exception, methods))


async def _handle_diptych_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DiptychError), "registered for this class"
    if status_of(error) == 500:
        fields = {"request_id": context_of(request).request_id}
        if (
            isinstance(error, CorruptStore) and error.logged
        ):  # its message, and so its traceback, would reveal a private id
            LOG.error("request failed: %s", error.logged, extra={"fields": fields})
        else:
            LOG.error("request failed", exc_info=error, extra={"fields": fields})
    state_of(request).count_disk_errors(error)
    return respond_error(request, error)


async def _handle_invalid_parameters(request: Request, error: Exception) -> Response:
    """Invalid parameters in the query string or path, which FastAPI validates."""
    assert isinstance(error, RequestValidationError), "registered for this class"
    details = [
        {**detail, "loc": [step for step in detail["loc"] if step not in _LOCATIONS]}
        for detail in error.errors()
    ]
    names = {step: None for detail in details for step in detail["loc"]}
    if details[0]["type"] == "extra_forbidden":
        name, model = str(details[0]["loc"][0]), query_model(request.scope["route"])
        return respond_error(request, unknown_parameter(name[:100], model.model_fields if model else ()))
    return respond_error(request, first_invalid(details, names))


async def _handle_http_exception(
    methods: Mapping[str, Collection[str]], request: Request, error: Exception
) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    headers = dict(error.headers or {})
    detail = error.detail
    if error.status_code == 408:
        state_of(request).count_rejected("body_timeout")
    if error.status_code == 404:
        detail = f"there is no {request.url.path[:200]}"
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(methods[request.scope["route"].path]))
        detail = f"{request.method} is not one of {headers['Allow']}"
    return respond_http(request, error.status_code, detail, headers)


def _allowed(methods: Collection[str]) -> list[str]:
    return sorted({*methods, "HEAD"} if "GET" in methods else methods)
