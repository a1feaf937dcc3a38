"""Answer an add with what became of each item. Knows nothing of what was added."""

from starlette.requests import Request
from starlette.responses import Response

from diptych.core.types import Added, AddOutcome
from diptych.http.answers import ModelRef
from diptych.http.answers_collections import AddOutcomeResponse, AddResponse
from diptych.http.context import context_of
from diptych.http.errors.problem_json import problem_of, respond_error
from diptych.http.respond import sized_json_response
from diptych.http.state import state_of

_VALUES = 5  # in one outcome


async def respond_outcomes(request: Request, added: Added, collection: str, item: str) -> Response:
    """One outcome per item; the failure of an only item is the answer itself, such as a 409.

    `item` is what such an answer calls it when it has no name for the part that is at fault.
    """
    outcomes = added.outcomes
    state_of(request).count_disk_refusals(*(outcome.error for outcome in outcomes))
    if len(outcomes) == 1 and outcomes[0].error is not None:
        error = outcomes[0].error
        return respond_error(request, error.named(f"items[0].{error.item}" if error.item else item))
    request_id = context_of(request).request_id

    def answer() -> AddResponse:
        rows = [outcome_answer(outcome, request_id) for outcome in outcomes]
        return AddResponse(model=ModelRef.of(added.model), collection=collection, outcomes=rows)

    return await sized_json_response(request, len(outcomes) * _VALUES, answer)


def outcome_answer(outcome: AddOutcome, request_id: str) -> AddOutcomeResponse:
    """One outcome, its error as a problem."""
    problem = None if outcome.error is None else problem_of(outcome.error, request_id)
    return AddOutcomeResponse(index=outcome.index, id=outcome.id, status=outcome.status, error=problem)
