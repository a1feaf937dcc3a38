"""The state of the server, and the dependencies through which routes get it."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from diptych.core.keys.service import Keys
from diptych.core.log_throttle import LogThrottle
from diptych.core.ports import Reason, refusal_of
from diptych.core.services import Services
from diptych.errors import DiptychError, NotReady
from diptych.http.options import HttpOptions


class InFlightRequests:
    """Belongs to one event loop; only `stopping` may be set from elsewhere, such as a signal handler."""

    def __init__(self) -> None:
        self.stopping = False  # no further request is accepted
        self._deadlines: set[asyncio.Timeout] = set()

    def __len__(self) -> int:
        return len(self._deadlines)

    def add(self, deadline: asyncio.Timeout) -> None:
        """Register a request. Its deadline is unset (None) once its response has begun."""
        self._deadlines.add(deadline)

    def remove(self, deadline: asyncio.Timeout) -> None:
        """Forget a request that was answered or abandoned."""
        self._deadlines.discard(deadline)

    def expire_deadlines(self) -> None:
        """End the time of all requests that still have a deadline."""
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            if deadline.when() is not None and not deadline.expired():
                deadline.reschedule(now)


LOG = logging.getLogger("diptych.http")
STOPPING = "the server is stopping"


@dataclass
class ServerState:
    """The only mutable object that requests share in this package. `services` is set when loading is done."""

    options: HttpOptions
    services: Services | None = None
    in_flight: InFlightRequests = field(default_factory=InFlightRequests)
    disk_error_log: LogThrottle = field(default_factory=LogThrottle)
    keys: Keys = field(default_factory=Keys)

    def ready(self) -> Services:
        """The services. Raises NotReady while they load and after they were closed."""
        if self.services is None:
            raise NotReady(STOPPING if self.in_flight.stopping else "the model is being loaded")
        return self.services

    def count_rejected(self, reason: Reason) -> None:
        """Count a rejected request. The metrics belong to the services: without them nothing is counted."""
        if self.services is not None:
            self.services.metrics.count_rejected(reason)

    def count_disk_errors(self, *errors: DiptychError | None) -> None:
        """Count each kind of disk error once for a request, however many of its items have it.

        Log a warning, throttled for each kind.
        """
        refused = {reason: error for error in errors if error and (reason := refusal_of(error))}
        for reason, error in refused.items():
            self.count_rejected(reason)
            if self.disk_error_log.should_log(reason):
                LOG.warning("the data folder takes no writes: %s", error.message)


def state_of(request: Request) -> ServerState:
    """The state of the application that serves this request."""
    state: ServerState = request.app.state.diptych
    return state


def ready_services(request: Request) -> tuple[Services, HttpOptions]:
    """The services and the options, for the busiest routes. Raises NotReady while the services load.

    Other routes declare the dependencies below. FastAPI resolves those for each request, so the busiest
    routes call this function instead.
    """
    state = state_of(request)
    return state.ready(), state.options


# Coroutines, also where they await nothing: FastAPI runs a plain function in a thread for each request.


async def _state(request: Request) -> ServerState:
    return state_of(request)


async def _services(request: Request) -> Services:
    """The services, which know of all that other servers had acknowledged before the request."""
    services = state_of(request).ready()
    await services.collections.catch_up()
    return services


async def _options(request: Request) -> HttpOptions:
    return state_of(request).options


State = Annotated[ServerState, Depends(_state)]
ReadyServices = Annotated[Services, Depends(_services)]
Options = Annotated[HttpOptions, Depends(_options)]
