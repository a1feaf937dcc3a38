"""Calls about the server: its models, its version, and whether it is ready."""

from __future__ import annotations

from diptych_client.binding import Call
from diptych_client.results.models import ModelSummary, ModelVersion
from diptych_client.results.server import Readiness, ServerVersion
from diptych_client.steps import Answer, Request, Steps, exchange, path_of, result_of


def models() -> Steps[list[ModelSummary]]:
    """List the models of the repository. The served one has an `active` version.

    >>> [(model.name, model.active) for model in client.models()]
    [('tiny', 1)]
    """
    return result_of(Request("GET", "/models"), list[ModelSummary], "models")


def model_version(name: str, version: int) -> Steps[ModelVersion]:
    """Return one version of a model with its manifest: parity, metrics, preprocessing. Raises NotFound.

    >>> client.model_version("tiny", 1).manifest["embed_dim"]
    16
    """
    path = path_of("models", name, "versions", str(version))
    return result_of(Request("GET", path), ModelVersion)


def model_card(name: str, version: int) -> Steps[str]:
    """Return the model card of a version, as Markdown. Raises NotFound if it has none.

    >>> client.model_card("tiny", 1).splitlines()[0]
    '# tiny'
    """
    path = path_of("models", name, "versions", str(version), "card")
    return (yield from exchange(Request("GET", path))).content.decode()


def model_card_file(name: str, version: int, file: str) -> Steps[bytes]:
    """Return a picture or Markdown file that the model card of a version shows. Raises NotFound.

    >>> picture = client.model_card_file("tiny", 1, "figure.png")
    """
    path = path_of("models", name, "versions", str(version), "card", file)
    return (yield from exchange(Request("GET", path))).content


def version() -> Steps[ServerVersion]:
    """Return the version of the server, its model and its default collection.

    >>> server = client.version()
    >>> server.default_collection, server.read_only
    ('default', False)
    """
    return result_of(Request("GET", "/version"), ServerVersion)


def ready() -> Steps[Readiness]:
    """Return whether the server is ready for requests. Does not raise if it is not ready.

    >>> client.ready()
    Readiness(ready=True, reason='')
    """
    answer: Answer = yield Request("GET", "/readyz", repeatable=False)
    if answer.status == 200:
        return Readiness(True, "")
    return Readiness(False, str(answer.json().get("detail", "")))


class DescribingCalls:
    """The calls of this module, as methods of both clients."""

    models = Call(models)
    model_version = Call(model_version)
    model_card = Call(model_card)
    model_card_file = Call(model_card_file)
    version = Call(version)
    ready = Call(ready)
