"""Print what users rely on, or show that it is the same in two commits, however their code is named.

PYTHONPATH=tests python -m support.surface [--checkout DIR] [--against DIR|FILE.json] [--deep] [--write]

Checkouts run in processes of their own, with the packages of this Python. Of their code it knows only the
commands, `diptych.http.openapi`, `diptych.settings.Settings` and what is served.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.surface_of.checkout import Checkout
from support.surface_of.described import Json, described
from support.surface_of.observed import observed

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "tests" / "data" / "surface.json"
COMMITTED_PARTS = ("api", "bundle", "commands", "exit statuses", "metrics", "settings")


def main() -> int:
    """1 where there is a difference."""
    parser = argparse.ArgumentParser(prog="support.surface", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkout", type=Path, default=ROOT, metavar="DIR", help="this one if left out")
    parser.add_argument(
        "--against", type=Path, metavar="DIR|FILE", help="a checkout, or what was printed of one"
    )
    parser.add_argument("--deep", action="store_true", help="rows, runs and data folders too (some minutes)")
    parser.add_argument("--write", action="store_true", help=f"keep what belongs to {COMMITTED.name} there")
    args = parser.parse_args()
    with TemporaryDirectory() as home:
        checkouts = [Checkout(args.checkout.resolve(), Path(home) / "now")]
        if args.against is not None and args.against.is_dir():
            checkouts.append(Checkout(args.against.resolve(), Path(home) / "before"))
        found = [surface(checkout) for checkout in checkouts]
        told = deepened(found, checkouts, Path(home) / "inputs") if args.deep else []
    if args.write:
        COMMITTED.write_text(text_of({part: found[0][part] for part in COMMITTED_PARTS}))
    elif args.against is None:
        print(text_of(found[0]), end="")
        sys.stderr.writelines(f"{line}\n" for line in told)
    else:
        before = found[1] if len(found) > 1 else json.loads(args.against.read_text())
        both = before.keys() & found[0].keys()  # what was printed without --deep has fewer parts
        told += differences({part: before[part] for part in both}, {part: found[0][part] for part in both})
        print("\n".join(told) or "no difference")
    return int(bool(told))


def surface(checkout: Checkout) -> Json:
    """All but what takes minutes."""
    checkout.home.mkdir(exist_ok=True)
    with ThreadPoolExecutor() as both:
        served = both.submit(observed, checkout)
        return described(checkout) | served.result()


def deepened(found: list[Json], checkouts: list[Checkout], inputs: Path) -> list[str]:
    """Put what takes minutes into the surfaces. What one left must be the same to the other: differences."""
    from support.surface_of import kept  # noqa: PLC0415  torch takes long

    kept.write_inputs(inputs)
    photograph = ROOT / "server" / "gallery" / "cat.png"
    items: dict[str, bytes | str] = {**dict(kept.pictures(photograph)), **dict(kept.awkward_texts())}
    told = []
    for own, checkout in zip(found, checkouts, strict=True):
        own["losses"] = kept.leave(checkout, inputs)
        own["rows"] = kept.rows(checkout, items)
    for own, checkout in zip(found, checkouts, strict=True):
        own["opened"] = kept.opened(checkout, inputs, checkout.home / "left")
        told += differences(own["losses"], own["opened"]["losses"], f"{checkout.root} resumes its own run")
        for other in checkouts:
            if other is not checkout:
                theirs, place = kept.opened(checkout, inputs, other.home / "left"), f"what {other.root} left"
                told += differences(own["opened"], theirs, f"{checkout.root} opens {place}")
    return told


def text_of(surface: Json) -> str:
    """Sorted and indented, so that changes read well."""
    return json.dumps(surface, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def differences(before: Any, now: Any, place: str = "") -> list[str]:
    """A line for each value that is not the same, named by the keys that lead to it."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        texts = [json.dumps(value, ensure_ascii=False) for value in (before, now)]
        return [] if before == now else [f"{place}: {texts[0][:300]} became {texts[1][:300]}"]
    found = []
    for key in sorted(before.keys() | now.keys()):
        inner = f"{place} > {key}".removeprefix(" > ")
        if key in before and key in now:
            found += differences(before[key], now[key], inner)
        else:
            found.append(f"{inner}: {'gone' if key in before else 'new'}")
    return found


if __name__ == "__main__":
    sys.exit(main())
