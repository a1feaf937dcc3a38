"""`monitoring_models.py FILE`: read a manifest of the Prometheus operator by the operator's own schema.

Run by the Python of the tools, which has the models. They ignore fields that they do not know, so what they
read is written again and compared: a field that is lost is one that the operator does not have.
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from cloudcoil.models.prometheus_operator import v1

KINDS = {"ServiceMonitor": v1.ServiceMonitor, "PrometheusRule": v1.PrometheusRule}


def main(file: str) -> None:
    """Raises a validation error, or says which fields are unknown."""
    document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    read = KINDS[document["kind"]].model_validate(document)
    unknown = lost(document, read.model_dump(by_alias=True, exclude_none=True, mode="json"))
    if unknown:
        sys.exit(f"{file}: the operator does not know {', '.join(unknown)}")


def lost(given: Any, kept: Any, place: str = "") -> list[str]:
    """Paths of what is in `given` and not in `kept`."""
    if isinstance(given, dict) and isinstance(kept, dict):
        here = [f"{place}.{key}" for key in given.keys() - kept.keys()]
        return here + [
            path
            for key in given.keys() & kept.keys()
            for path in lost(given[key], kept[key], f"{place}.{key}")
        ]
    if isinstance(given, list) and isinstance(kept, list):
        return [
            path
            for n, (a, b) in enumerate(zip(given, kept, strict=True))
            for path in lost(a, b, f"{place}[{n}]")
        ]
    return []


if __name__ == "__main__":
    main(sys.argv[1])
