"""What a checkout says of itself: its API, settings, commands and bundle, without titles or descriptions."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.surface_of.checkout import Checkout

Json = dict[str, Any]
CHILD = Path(__file__).with_name("child.py")
WORDS = frozenset({"title", "description", "summary", "example", "examples", "$defs"})
MISSING = "no-such-file"
USAGE = ["", "--help", "--version", "--no-such-flag", "no-such-command"]
OF_SERVER = [
    f"{command} {MISSING}" for command in ("restore", "add", "embed", "classify", "collections import")
]
OF_TRAINING = [f"{command} {MISSING}" for command in ("train", "evaluate --run", "data inspect")]
LINES = {  # whose exit statuses are asked, besides --help and an unknown flag of every command
    "diptych": [*USAGE, *OF_SERVER, f"backup --verify {MISSING}", f"check mine --model-repo {MISSING}"],
    "diptych_training": [*USAGE, *OF_TRAINING, f"export --name x --run {MISSING}"],
}


def described(checkout: Checkout) -> Json:
    def ask(module: str) -> Json:
        file, lines = checkout.home / f"{module}.json", [line.split() for line in LINES[module]]
        checkout.python(str(CHILD), module, str(file), json.dumps(lines))
        text = file.read_text().replace(str(checkout.home), "HOME").replace(str(checkout.root), "CHECKOUT")
        answer: Json = json.loads(text)
        return answer

    with ThreadPoolExecutor() as both:
        server, training = both.map(ask, LINES)
    commands = server["commands"] | training["commands"]
    manifest = json.loads((checkout.bundle / "manifest.json").read_text())
    return {
        "api": api(server["openapi"]),
        "settings": shape(server["settings"], {}),
        "commands": {name: {flag: line(one) for flag, one in of.items()} for name, of in commands.items()},
        "exit statuses": server["exit statuses"] | training["exit statuses"],
        "bundle": {
            "files": sorted(file.name for file in checkout.bundle.iterdir()),
            "schema_version": manifest["schema_version"],
            "keys of the manifest": sorted(_keys(manifest)),
        },
    }


def _keys(node: object) -> set[str]:
    """`image.size` and so on; the items of lists are taken together."""
    if isinstance(node, list):
        return {key for item in node for key in _keys(item)}
    if not isinstance(node, dict):
        return set()
    inner = {f"{key}.{one}" for key, value in node.items() if key != "extra" for one in _keys(value)}
    return node.keys() | inner


def api(openapi: Json) -> Json:
    """Parameters, bodies and answers of each call. A shape that was there before is named by its place."""
    schemas, calls = openapi["components"]["schemas"], {}
    errors = openapi["components"].get("responses", {})

    def content(holder: Json) -> Json:
        return {
            kind: shape(one.get("schema", {}), schemas) for kind, one in holder.get("content", {}).items()
        }

    for path, methods in openapi["paths"].items():
        for method, call in methods.items():
            body, parameters = call.get("requestBody", {}), {}
            answers: Json = {}
            for one in call.get("parameters", []):
                name = f"{one['in']} {one['name']}{'' if one['required'] else '?'}"
                parameters[name] = content(one) or shape(one["schema"], schemas)
            for status, response in call["responses"].items():
                one = errors[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
                answer = {f"header {name}": "" for name in one.get("headers", {})} | content(one)
                same = next((known for known in answers if answers[known] == answer), "")
                answers[f"{same} {status}".strip()] = answers.pop(same, answer)
            parts = {"parameters": parameters, "answers": answers, "security": line(call.get("security", ""))}
            parts["body" if body.get("required") else "body?"] = content(body)
            calls[f"{method.upper()} {path}"] = {name: part for name, part in parts.items() if part}
    shared: Json = _shared(calls, "", {})
    return shared


def shape(node: Any, schemas: Mapping[str, Any], inside: tuple[str, ...] = ()) -> Any:
    """A JSON schema without words, its references resolved; one without properties is a line of text."""
    if isinstance(node, list):
        return [shape(item, schemas, inside) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name in inside:
            return f"again, {len(inside) - inside.index(name)} up"
        node, inside = {**schemas[name], **{**node, "$ref": None}}, (*inside, name)
    shown: Json = {}
    for key, value in node.items():
        if key == "properties":
            marks = {name: "" if name in node.get("required", []) else "?" for name in value}
            shown[key] = {name + marks[name]: shape(one, schemas, inside) for name, one in value.items()}
        elif key not in WORDS | {"$ref"} and not (key == "required" and "properties" in node):
            shown[key] = shape(value, schemas, inside)
    return shown if '"properties": ' in json.dumps(shown) else line(shown)


def line(node: Any) -> str:
    if not isinstance(node, dict):
        return node if isinstance(node, str) else json.dumps(node)
    return ", ".join(f"{key} {line(value)}" for key, value in sorted(node.items()))


def _shared(node: Any, place: str, seen: dict[str, str]) -> Any:
    text = json.dumps(node, sort_keys=True)
    if not isinstance(node, dict):
        return node
    if len(text) > 100 and seen.setdefault(text, place) != place:
        return f"as {seen[text]}"
    return {key: _shared(value, f"{place} {key}".strip(), seen) for key, value in sorted(node.items())}
