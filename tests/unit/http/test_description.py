"""The OpenAPI description is worth reading: tasks as titles, and an example of every error."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from diptych.http.media_types import JSON
from diptych.http.openapi import description_text

Json = dict[str, Any]
DESCRIPTION: Json = json.loads(description_text())
OPERATIONS = {
    f"{method.upper()} {path}": call
    for path, calls in DESCRIPTION["paths"].items()
    for method, call in calls.items()
}


def resolved(node: Json) -> Json:
    """What a reference of the description refers to."""
    while "$ref" in node:
        found: Any = DESCRIPTION
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_that_docs_fill_in_have_examples(name: str) -> None:
    """Without one of a required parameter, /docs sends nothing and shows no `curl` command."""
    for parameter in OPERATIONS[name].get("parameters", ()):
        has_example = "example" in parameter or "example" in parameter.get("content", {}).get(JSON, {})
        needs_one = parameter["required"] or "content" in parameter  # /docs makes up JSON
        assert has_example is needs_one, parameter["name"]


def test_errors_that_ask_to_wait_describe_retry_after() -> None:
    answers = [resolved(call["responses"][one]) for call in OPERATIONS.values() for one in call["responses"]]
    waits = [one for one in answers if re.search("overloaded|not-ready", json.dumps(one.get("content", {})))]
    assert waits
    assert all("Retry-After" in one["headers"] for one in waits)


def test_keys_are_security_schemes_that_probes_do_not_need() -> None:
    schemes = DESCRIPTION["components"]["securitySchemes"]
    assert {(one["type"], one.get("scheme") or one["name"]) for one in schemes.values()} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    open_calls = {name for name, call in OPERATIONS.items() if call.get("security") == []}
    assert open_calls == {"GET /healthz", "GET /readyz"}


def bodies() -> Iterator[tuple[str, Json]]:
    """Name and content of every request body, by media type."""
    for name, call in OPERATIONS.items():
        for media_type, content in call.get("requestBody", {}).get("content", {}).items():
            yield f"{name} takes {media_type}", content


def answers() -> Iterator[tuple[str, Json]]:
    """Name and content of every answer in JSON, those of errors too."""
    for name, call in OPERATIONS.items():
        for status, response in call["responses"].items():
            for media_type, content in resolved(response).get("content", {}).items():
                if media_type.endswith("json"):
                    yield f"{name} answers {status}", content


def examples_of(content: Json) -> list[Any]:
    """The examples of a body or answer, or else those of its schema."""
    if "example" in content:
        return [content["example"]]
    if "examples" in content:
        return [one["value"] for one in content["examples"].values()]
    found: list[Any] = resolved(content["schema"]).get("examples", [])
    return found


CONTENTS = dict([*bodies(), *answers()])


@pytest.mark.parametrize("name", CONTENTS)
def test_body_or_answer_has_examples_of_its_own_schema(name: str) -> None:
    content = CONTENTS[name]
    examples = examples_of(content)
    assert examples
    schema = {**content["schema"], "components": DESCRIPTION["components"]}
    validator = Draft202012Validator(schema)
    for example in examples:
        assert [error.message for error in validator.iter_errors(example)] == []
