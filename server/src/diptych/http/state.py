"""Whether the server loads, is ready, stops, or never will be ready. Knows no route and no part by name."""

import logging
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from diptych.core.log_throttle import LogThrottle
from diptych.core.ports import Reason, refusal_of
from diptych.core.services import Services
from diptych.errors import DiptychError, NotReady
from diptych.http.in_flight import InFlightRequests
from diptych.http.options import HttpOptions

LOG = logging.getLogger("diptych.http")
STOPPING = "the server is stopping"


@dataclass
class ServerState:
    """Services come when loading is done. The only mutable thing that requests share in this room."""

    options: HttpOptions
    services: Services | None = None
    inside: InFlightRequests = field(default_factory=InFlightRequests)
    refusals: LogThrottle = field(default_factory=LogThrottle)

    def ready(self) -> Services:
        """The services; NotReady while they load, and once they are closed."""
        if self.services is None:
            raise NotReady(STOPPING if self.inside.stopping else "the model is being loaded")
        return self.services

    def count_rejected(self, reason: Reason) -> None:
        """Tell the metrics, when there are some: they come with the services."""
        if self.services is not None:
            self.services.metrics.count_rejected(reason)

    def count_disk_refusals(self, *errors: DiptychError | None) -> None:
        """Once for a request, however many of its items the disk refused. The log has one line for all."""
        refused = {reason: error for error in errors if error and (reason := refusal_of(error))}
        for reason, error in refused.items():
            self.count_rejected(reason)
            if self.refusals.should_log(reason):
                LOG.warning("the data folder takes no writes: %s", error.message)


def state_of(request: Request) -> ServerState:
    """The state of the app that this request came to."""
    state: ServerState = request.app.state.diptych
    return state


def at_work(request: Request) -> tuple[Services, HttpOptions]:
    """The services, and the options, of calls that are made the most: NotReady while they load.

    Other calls name what they need as below, and FastAPI gets it; these have no parameters for it to read.
    """
    state = state_of(request)
    return state.ready(), state.options


# Coroutines, though they wait for nothing: FastAPI sends a plain function through a thread at each request.


async def _state(request: Request) -> ServerState:
    return state_of(request)


async def _ready_services(request: Request) -> Services:
    return state_of(request).ready()


async def _options(request: Request) -> HttpOptions:
    return state_of(request).options


State = Annotated[ServerState, Depends(_state)]
ReadyServices = Annotated[Services, Depends(_ready_services)]
Options = Annotated[HttpOptions, Depends(_options)]
