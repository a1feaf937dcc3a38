"""The HTTP application: routes, middlewares, and loading the services while it already answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from diptych import __version__
from diptych.core.keys.service import Keys
from diptych.core.limits import Limits
from diptych.core.services import Services
from diptych.errors import DiptychError
from diptych.http.access import GuardedRoute, access_table
from diptych.http.description import describe
from diptych.http.endpoints import (
    add_images,
    browse,
    classify,
    collections,
    comparison,
    embed,
    images,
    jobs,
    keys,
    label_images,
    label_proposals,
    label_sets,
    libraries,
    model_card,
    models,
    operate,
    page,
    push_version,
    rollouts,
    vectors,
)
from diptych.http.endpoints.dialects import huggingface, openai
from diptych.http.endpoints.search import routes as search
from diptych.http.errors.documented_errors import other_errors
from diptych.http.errors.handlers import add_handlers
from diptych.http.middleware.access_log import AccessLogMiddleware
from diptych.http.middleware.auth import HeadSizeMiddleware, HostMiddleware, KeyMiddleware
from diptych.http.middleware.body_budget import BodyBudgetMiddleware
from diptych.http.middleware.drain import BodyDrainMiddleware
from diptych.http.middleware.timeout import TimeoutMiddleware
from diptych.http.options import HttpOptions
from diptych.http.query import refuse_repeated_parameters
from diptych.http.state import ServerState

LOG = logging.getLogger("diptych.http")
_CORS: dict[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST", "PATCH", "DELETE"),
    "allow_headers": ("Authorization", "X-API-Key", "Content-Type", "If-None-Match", "X-Request-Id"),
    "expose_headers": (
        *("X-Request-Id", "Server-Timing", "Retry-After", "Location", "ETag", "X-Diptych-Model"),
        *("X-Diptych-Version", "X-Diptych-Precision", "X-Diptych-Decode", "X-Diptych-Shape"),
        "X-Diptych-Truncated",
    ),
    "allow_credentials": False,  # keys are sent by scripts: there are no cookies
}

Load = Callable[[], Awaitable[Services]]
Background = Callable[[Services], Awaitable[None]]

ROUTERS = (
    *(embed.router, classify.router, search.router),
    *(collections.router, add_images.router, images.router, browse.router, vectors.router, jobs.router),
    *(libraries.router, label_sets.router, label_images.router, label_proposals.router),
    *(models.router, model_card.router, push_version.router, rollouts.router, comparison.router),
    *(openai.router, huggingface.router, operate.router, keys.router, page.router),
)


def create_app(
    load: Load,
    options: HttpOptions | None = None,
    *,
    accepted_keys: Keys | None = None,
    on_failure: Callable[[BaseException], None] | None = None,
    background: Sequence[Background] = (),
) -> FastAPI:
    """Build the application. Until `load` is done it answers /healthz, and most other paths with 503.

    `load` builds and starts the services; they are closed when the application stops. `on_failure` is called
    with the exception if `load` fails. Without `accepted_keys` no call needs a key. `background` tasks start
    once the services are loaded, and are cancelled when the application stops.
    """
    options = options or HttpOptions()
    state = ServerState(options, keys=accepted_keys or Keys())
    app = FastAPI(
        title="diptych",
        version=__version__,
        description="Image-text embeddings, zero-shot labels and search. Do not mix vectors of two versions "
        "of a model: each answer with vectors names its model. Errors are problems (RFC 9457); under "
        "`/v1` and `/hf` they have the shapes of OpenAI and Hugging Face.",
        lifespan=_lifespan(state, load, on_failure or _log_failure, background),
        openapi_url=None,  # endpoints.page serves it, as a named route
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(refuse_repeated_parameters)],
        responses=other_errors(),
        generate_unique_id_function=lambda route: route.name,  # the same even if a path changes
    )
    app.state.diptych = state
    for router in ROUTERS:
        app.include_router(router)
    routes = _guarded_routes()
    add_handlers(app, access_table(routes))
    _add_middlewares(app, state, routes)
    app.openapi = _cached_openapi(app, routes, options.limits)  # type: ignore[method-assign]
    return app


def _guarded_routes() -> list[GuardedRoute]:
    """Require that every route checks the caller's key, and accept HEAD wherever GET is accepted.

    RFC 9110 demands HEAD; FastAPI answers it with 405.
    """
    routes = []
    for route in (route for router in ROUTERS for route in router.routes):
        assert isinstance(route, GuardedRoute), f"{route} does not check keys"
        if route.methods and "GET" in route.methods:
            route.methods.add("HEAD")
        routes.append(route)
    return routes


def _add_middlewares(app: FastAPI, state: ServerState, routes: Sequence[GuardedRoute]) -> None:
    """Add the innermost first: the middleware added last sees a request first."""
    options, limits = state.options, state.options.limits
    app.add_middleware(BodyBudgetMiddleware, state=state, max_bytes=limits.max_inflight_body_bytes)
    app.add_middleware(KeyMiddleware, state=state, routes=routes)
    app.add_middleware(
        HostMiddleware,
        host=options.host,
        allowed_hosts=options.allowed_hosts,
        cors_origins=options.cors_origins,
    )
    app.add_middleware(HeadSizeMiddleware, state=state)
    app.add_middleware(TimeoutMiddleware, state=state, timeout_s=limits.request_timeout_s)
    if options.cors_origins:  # outside of all that refuses, so that pages can read why
        app.add_middleware(CORSMiddleware, allow_origins=options.cors_origins, **_CORS)
    app.add_middleware(AccessLogMiddleware, state=state)
    app.add_middleware(BodyDrainMiddleware, in_flight=state.in_flight, timeout_s=limits.header_timeout_s)


def _cached_openapi(
    app: FastAPI, routes: Sequence[GuardedRoute], limits: Limits
) -> Callable[[], dict[str, Any]]:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app, routes, limits)
        return app.openapi_schema

    return openapi


def _lifespan(
    state: ServerState,
    load: Load,
    on_failure: Callable[[BaseException], None],
    background: Sequence[Background],
) -> Callable[[FastAPI], Any]:
    async def run() -> None:
        try:
            services = state.services = await load()
        except Exception as error:
            on_failure(error)
            return
        await asyncio.gather(*(_run_background(work(services)) for work in background))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(run())
        following = asyncio.create_task(state.keys.follow())
        try:
            yield
        finally:
            await _stop(running, state)
            following.cancel()
            await asyncio.wait([following])
            await state.keys.save_uses()

    return lifespan


async def _run_background(work: Awaitable[None]) -> None:
    """Run background work. Its failure is logged and does not stop the server."""
    try:
        await work
    except DiptychError as error:
        LOG.error("background work ended early: %s", error)
    except Exception:
        LOG.exception("background work failed")


async def _stop(running: "asyncio.Task[None]", state: ServerState) -> None:
    running.cancel()
    await asyncio.wait([running])
    services, state.services = state.services, None
    if services is not None:
        await services.close()


def _log_failure(error: BaseException) -> None:
    LOG.error("the server cannot start", exc_info=error)
