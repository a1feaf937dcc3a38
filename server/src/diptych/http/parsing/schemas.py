"""JSON Schemas of what clients may send, for the OpenAPI description.

A limit that is a setting stands in a schema by its name; `with_limits` replaces the names by the numbers of
one server. Three formats express what JSON Schema cannot: `image` (a file that can be decoded), `precision`
(one of the served version) and `moment` (a year, a month, a day or a time of a day, with or without offset).
"""

from collections.abc import Sequence
from typing import Any

from diptych.core.classification.label_checks import MAX_LABEL_CHARS, MAX_TEMPLATE_CHARS
from diptych.core.collections.metadata.filter_parser import MAX_CLAUSES, MAX_DEPTH, MAX_IN_VALUES
from diptych.core.collections.stored.ids import COLLECTION, IMAGE_ID
from diptych.core.limits import Limits
from diptych.http.parsing.json_images import ANY_DATA_URI

Schema = dict[str, Any]
_LIMITS = "x-limits"

STRING: Schema = {"type": "string"}
REF = "#/components/schemas/{model}"


def limited(**names: str) -> Schema:
    """Keywords whose values are limits: `limited(maxLength="max_text_chars")`."""
    return {_LIMITS: names}


def with_limits(described: Any, limits: Limits) -> Any:
    """Replace the names of limits in a description by their numbers.

    If a keyword also has a fixed limit, the smaller of the two holds.
    """
    if isinstance(described, list):
        return [with_limits(item, limits) for item in described]
    if not isinstance(described, dict):
        return described
    numbers = {keyword: getattr(limits, name) for keyword, name in described.get(_LIMITS, {}).items()}
    bounds = {keyword: min(number, described.get(keyword, number)) for keyword, number in numbers.items()}
    return {key: with_limits(value, limits) for key, value in described.items() if key != _LIMITS} | bounds


def ref(model: str) -> Schema:
    """A reference to the schema with this name in the components."""
    return {"$ref": REF.format(model=model)}


def non_empty_list(item: Schema, limit: str) -> Schema:
    """A list with one item or more, up to the named limit."""
    return {"type": "array", "items": item, "minItems": 1, **limited(maxItems=limit)}


def example(*values: Any, **rules: Any) -> Schema:
    """Keywords of a schema: these examples, and the given rules."""
    return {"examples": list(values), **rules}


def exactly_one(*names: str, given: Schema = STRING, without: Sequence[str] = ()) -> Schema:
    """A rule: exactly one of these properties is a string, or what `given` describes.

    The properties `without` must be null next to it.
    """
    nulls = {name: {"type": "null"} for name in without}
    return {"oneOf": [{"required": [name], "properties": {name: given, **nulls}} for name in names]}


def any_rule(*rules: Schema) -> Schema:
    """A rule: exactly one alternative of all these rules holds."""
    return {"oneOf": [alternative for rule in rules for alternative in rule["oneOf"]]}


def form(properties: Schema, required: Sequence[str] = (), **rules: Any) -> Schema:
    """The schema of a form with these fields and no others."""
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, "additionalProperties": False, **needed, **rules}


def json_field(schema: Schema, description: str) -> Schema:
    """The schema of a form field that holds JSON."""
    return {**schema, "description": description, "contentMediaType": "application/json"}


_DATA_URI = r"data:[A-Za-z0-9.+/-]*(;[A-Za-z0-9.+=/-]+)*;base64,"
_BLANK = r"\s\x1c-\x1f\x85"  # what str.strip() removes; `\s` of JavaScript lacks some of it
_NOT_BLANK = f"[^{_BLANK}]"
_NO_LIST = rf"^[{_BLANK}]*[^{_BLANK}\[]"  # a single field that begins with [ is read as a JSON array
_A_LIST = rf"^[{_BLANK}]*\["
_PLACE, _TWO_PLACES = r"\{\}", r"\{\}[\s\S]*\{\}"

FILE: Schema = {**STRING, "format": "binary", "minLength": 1}
TEXT: Schema = {**STRING, **limited(maxLength="max_text_chars")}
QUERY_TEXT: Schema = {**TEXT, "pattern": _NOT_BLANK}
IMAGE_URI: Schema = {**STRING, "format": "image", "pattern": f"^({_DATA_URI}|https://)"}
DATA_URI: Schema = {**STRING, "format": "image", "pattern": f"^{_DATA_URI}"}
NO_DATA_URI: Schema = {**TEXT, "not": {"pattern": f"^{ANY_DATA_URI}"}}
TEXT_OR_DATA_URI: Schema = {"anyOf": [NO_DATA_URI, DATA_URI]}
IMAGE_BASE64: Schema = {**STRING, "format": "image-base64", "contentEncoding": "base64", "minLength": 1}
ANY_IMAGE: Schema = {"anyOf": [IMAGE_URI, IMAGE_BASE64]}
LABELS: Schema = {
    **non_empty_list({**TEXT, "pattern": _NOT_BLANK, "maxLength": MAX_LABEL_CHARS}, "max_labels"),
    "uniqueItems": True,
}
LABEL_OF_SET: Schema = {**LABELS["items"], "not": {"pattern": r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"}}
LABEL_FIELDS: Schema = {**LABELS, "items": {**LABELS["items"], "pattern": _NO_LIST}}
TEMPLATE: Schema = {
    **TEXT,
    "pattern": _PLACE,
    "not": {"pattern": _TWO_PLACES},
    "maxLength": MAX_TEMPLATE_CHARS,
}
TEMPLATES = non_empty_list(TEMPLATE, "max_templates")
TEMPLATE_FIELDS: Schema = {
    **TEMPLATES,
    "items": {**TEMPLATE, "not": {"pattern": f"{_TWO_PLACES}|{_A_LIST}"}},
}
TEMPLATE_SET: Schema = {**STRING, "format": "template-set"}
ONE_KIND_OF_TEMPLATES: Schema = {
    "not": {
        "required": ["template", "templates"],
        "properties": {"template": STRING, "templates": {"type": ["string", "array"]}},
    }
}
PATH = r"^[^.]+(\.[^.]+)*$"  # of a metadata field
PATH_TEXT: Schema = {**STRING, "pattern": PATH}
PRECISION: Schema = {**STRING, "format": "precision", "minLength": 1}
COLLECTION_NAME: Schema = {**STRING, "pattern": f"^{COLLECTION.pattern}$"}
ID: Schema = {**STRING, "pattern": f"^{IMAGE_ID.pattern}$", "not": {"enum": [".", ".."]}}

# A grey picture of one pixel, for examples that a reader can try.
EXAMPLE_BASE64 = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EXAMPLE_URI = f"data:image/png;base64,{EXAMPLE_BASE64}"
EXAMPLE_FILE = "(the bytes of a file)"

_CLAUSES: Schema = {"type": "array", "items": ref("Filter"), "minItems": 1, "maxItems": MAX_CLAUSES}
_ORDERED: Schema = {"type": ["number", "string"]}
_OPERATORS: Schema = {
    "type": "object",
    "properties": {
        "eq": {},
        "ne": {},
        "in": {"type": "array", "maxItems": MAX_IN_VALUES},
        **dict.fromkeys(("lt", "lte", "gt", "gte"), _ORDERED),
        "on": {**STRING, "format": "moment", "description": "such as 2024, 2024-05, 2024-05-31T18:30+02:00"},
        "contains": {**STRING, "minLength": 1},
        "under": {
            **STRING,
            "minLength": 1,
            "description": "a folder, such as 2024/italy: this or one within it",
        },
        "exists": {"type": "boolean"},
    },
    "additionalProperties": False,
    "minProperties": 1,
}
_LABELLED: Schema = {
    "description": "of a label set; null: no label of it",
    "type": "object",
    "properties": {
        "set": STRING,
        "in": {"type": "array", "items": {"type": ["string", "null"]}, "maxItems": MAX_IN_VALUES},
    },
    "required": ["set", "in"],
    "additionalProperties": False,
}
_CONDITIONS: list[Schema] = [{"type": ["string", "number", "boolean", "null", "array"]}, _OPERATORS]
FILTER: Schema = {
    "description": "On metadata: all keys must hold, dots in a key walk into nested objects. "
    f"At most {MAX_CLAUSES} clauses and {MAX_IN_VALUES} `in` values in all, nested at most {MAX_DEPTH} deep.",
    "type": "object",
    "properties": {
        "and": _CLAUSES,
        "or": _CLAUSES,
        "not": ref("Filter"),
        "label": {"anyOf": [*_CONDITIONS, _LABELLED]},
    },
    "propertyNames": {"pattern": PATH},
    "additionalProperties": {"anyOf": _CONDITIONS},
    "minProperties": 1,
    "maxProperties": MAX_CLAUSES,
}
FILTER_TEXT: Schema = json_field({**STRING, "contentSchema": ref("Filter")}, "a filter as JSON")
