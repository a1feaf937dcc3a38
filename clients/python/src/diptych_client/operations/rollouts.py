"""Rollouts: move a running server to another version of a model, and back, and follow how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from diptych_client.binding import Call
from diptych_client.reading import read
from diptych_client.results.common import VersionRef
from diptych_client.results.models import ModelSummary
from diptych_client.results.rollouts import Comparison, Rollout, RolloutStatus
from diptych_client.steps import Request, Sleep, Steps, exchange, path_of, result_of

POLL_S = 0.5


def activate(
    name: str, version: int, *, precision: str | None = None, despite_labels: bool = False
) -> Steps[Rollout]:
    """Start a rollout of the server to a version; `wait_for_rollout` returns when it has ended.

    Until then, what serves now serves on. An older version is activated in the same way. `precision` is that
    of all vectors from then on, such as "int8"; None takes the one that the server has recorded, if the
    version has it. A rollout to a version that agrees less with people on their label sets fails, unless
    `despite_labels` is true; with it, the version that served before is returned to without a comparison. For
    a version that serves already the result has ended (`has_ended`). Raises
    NotFound, InvalidValue for a precision that the version lacks, and Conflict for a version that cannot be
    served there.

    >>> client.activate("tiny", 1).state  # it serves already
    'active'
    """
    path = path_of("models", name, "versions", str(version), "activate")
    given = {"precision": precision, "despite_labels": despite_labels or None}
    return result_of(
        Request("POST", path, json={key: value for key, value in given.items() if value is not None}), Rollout
    )


def rollouts(*, limit: int = 100) -> Steps[list[Rollout]]:
    """List the newest rollouts, newest first.

    >>> [(rollout.state, rollout.reason) for rollout in client.rollouts(limit=1)]
    [('active', '')]
    """
    return result_of(Request("GET", "/rollouts", {"limit": str(limit)}), list[Rollout], "rollouts")


def rollout(id: str) -> Steps[Rollout]:
    """Return the state and the progress of one rollout. Raises NotFound.

    >>> client.rollout(client.rollouts()[0].id).state
    'active'
    """
    return result_of(Request("GET", path_of("rollouts", id)), Rollout)


def wait_for_rollout(id: str, *, on_progress: Callable[[Rollout], None] | None = None) -> Steps[Rollout]:
    """Wait for the end of a rollout, and return it: its `state` says whether the version serves.

    Calls `on_progress` twice a second. Raises NotFound.

    >>> rollout = client.activate("tiny", 2)  # doctest: +SKIP
    >>> client.wait_for_rollout(rollout.id, on_progress=print).state  # doctest: +SKIP
    'active'
    """
    while True:
        found = yield from rollout(id)
        if on_progress is not None:
            on_progress(found)
        if found.has_ended:
            return found
        yield Sleep(POLL_S)


def cancel_rollout(id: str) -> Steps[Rollout]:
    """Cancel a rollout: what served before serves on. Raises NotFound, and Conflict once it has ended.

    >>> rollout = client.activate("tiny", 2)  # doctest: +SKIP
    >>> client.cancel_rollout(rollout.id).state  # doctest: +SKIP
    'cancelled'
    """
    request = Request("DELETE", path_of("rollouts", id), idempotent=False)
    return result_of(request, Rollout)


def rollout_status() -> Steps[RolloutStatus]:
    """Return the version that serves, the one before it, the policy, and the rollout under way.

    >>> status = client.rollout_status()
    >>> status.active.name, status.policy, status.previous
    ('tiny', 'latest', None)
    """
    answer = (yield from exchange(Request("GET", "/models"))).json()
    status = read(RolloutStatus, answer, "GET /models")
    for model in read(list[ModelSummary], answer, "GET /models", "models"):
        if model.active is not None:
            return replace(status, active=VersionRef(model.name, model.active, bundle=model.bundle))
    return status


def compare_versions(
    name: str, old: int, new: int, *, old_name: str | None = None, collection: str | None = None
) -> Steps[Comparison]:
    """Compare the searches of two versions, in all collections that have vectors of both, or in one of them.

    A collection has vectors of the version that serves it, of the one before if that is kept, and of the one
    of the rollout under way. `old_name`: the model of the old version, if it has another name. Raises
    NotFound, and Conflict if no collection has vectors of both.

    >>> comparison = client.compare_versions("tiny", 1, 2)  # doctest: +SKIP
    >>> [(one.collection, one.overlap_at_10) for one in comparison.collections]  # doctest: +SKIP
    [('pets', 0.91)]
    """
    given = {"against": str(old), "against_model": old_name, "collection": collection}
    parameters = {key: value for key, value in given.items() if value is not None}
    path = path_of("models", name, "versions", str(new), "comparison")
    return result_of(Request("GET", path, parameters), Comparison)


class RolloutsCalls:
    """The calls of this module, as methods of both clients."""

    activate = Call(activate)
    rollouts = Call(rollouts)
    rollout = Call(rollout)
    wait_for_rollout = Call(wait_for_rollout)
    cancel_rollout = Call(cancel_rollout)
    rollout_status = Call(rollout_status)
    compare_versions = Call(compare_versions)
