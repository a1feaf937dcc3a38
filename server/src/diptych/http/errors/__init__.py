"""Turns exceptions into error responses: `application/problem+json`, or the shapes of `/v1` and `/hf`.

`problem_json` has the table from error classes to statuses: read it first. `handlers` registers the
conversions, `validation` converts pydantic's errors, `documented_errors` describes errors in OpenAPI.
"""
