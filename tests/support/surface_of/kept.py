"""What lasts: rows of the default model bit for bit, losses of a run, what one checkout keeps for another."""

import csv
import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from support.hostile.containers import encoded, scene
from support.hostile.mutations import FORMATS, HEIC, bases
from support.hostile.texts import random_text, strange_texts
from support.odd_pictures import ORIENTATION, odd_pictures
from support.small_recipe import small_recipe, write_small_recipe
from support.surface_of.checkout import KEY, Checkout
from support.surface_of.observed import picture
from support.tiny_run import write_tiny_dataset

Json = dict[str, Any]
N_TEXTS, N_STEPS, STOPPED_AT = 300, 20, 10
MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"),
    *("CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "I;16B", "F"),
)
WITH_EXIF = ("AVIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")
QUERIES = ({"text": "a cat"}, {"text": "noise"}, {"id": "4"})
# The run is told to stop where it puts the checkpoint of its 10th step in place, however it does that.
STOPPED = """
import os, runpy, signal, sys
told = []
def watch(event, arguments):
    if event == "os.rename" and os.fspath(arguments[1]).endswith("last.safetensors") and not told:
        told.append(os.kill(os.getpid(), signal.SIGTERM))
sys.addaudithook(watch)
runpy.run_module("diptych_training", run_name="__main__", alter_sys=True)
"""


def rows(checkout: Checkout, items: Mapping[str, bytes | str]) -> Json:
    """sha256 of the float32 bytes of each picture or text, else status and problem, in each precision."""
    precisions = json.loads((checkout.bundle / "manifest.json").read_text())["precisions"]
    found: Json = {}
    for precision, decode in itertools.product(precisions, ("exact", "fast")):
        name = f"{precision}-{decode}"
        with checkout.serving(checkout.home / name, "--precision", precision, "--decode", decode) as client:
            found[name] = {what: _row(client, item) for what, item in items.items()}
    return found


def pictures(photograph: Path) -> Iterator[tuple[str, bytes]]:
    """Every format and mode that Pillow writes, every turn, and odd files of the formats that are served."""
    yield from odd_pictures(photograph).items()
    for form in (*FORMATS, HEIC):
        yield from ((f"{form} {number}", file) for number, file in enumerate(bases(form)))
    Image.init()
    for form, mode in itertools.product(sorted(Image.SAVE), MODES):
        with suppress(Exception):  # this format has no such mode, or its library is not here
            yield f"{form} of {mode}", encoded(scene(90, 70).convert(mode), form)
    for form, turn in itertools.product(WITH_EXIF, range(1, 9)):
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        yield f"{form} turned {turn}", encoded(scene(700, 500, turn), form, exif=exif)  # `fast` scales it


def awkward_texts() -> Iterator[tuple[str, str]]:
    yield from strange_texts().items()
    yield from ((f"text {seed}", random_text(seed)) for seed in range(N_TEXTS - len(strange_texts())))


def _row(client: httpx.Client, item: bytes | str) -> str:
    is_text = isinstance(item, str)
    kind = {"Content-Type": "application/json" if is_text else "image/png"}
    body = json.dumps({"input": [{"text": item}]}) if is_text else item  # half surrogates as escapes
    response = client.post("/embed", content=body, headers={**kind, "Accept": "application/octet-stream"})
    if response.is_success:
        return hashlib.sha256(response.content).hexdigest()
    return f"{response.status_code} {response.json()['type']}"


def write_inputs(folder: Path) -> None:
    """A tiny data set and a recipe, the same for all checkouts."""
    write_tiny_dataset(folder / "data", n_icons=12)
    run: Json = {
        "steps": N_STEPS,
        "n_threads": 1,
        "checkpoint_every": STOPPED_AT,
        "validate_every": STOPPED_AT,
    }
    write_small_recipe(folder / "small.toml", small_recipe(run=run))


def train(checkout: Checkout, inputs: Path, runs: Path, *program: str, status: int = 0) -> Json:
    """The metrics of the run, but for what the clock says."""
    data, place = ("--data", str(inputs / "data")), ("--runs-dir", str(runs), "--device", "cpu")
    resume = ["--resume"] if runs.exists() else []
    checkout.python(*program, "train", str(inputs / "small.toml"), *data, *place, *resume, status=status)
    table = csv.DictReader((runs / "small" / "metrics.csv").read_text().splitlines())
    return {
        f"{row['metric']} {row['step']}": row["value"] for row in table if row["metric"] != "images_per_s"
    }


def leave(checkout: Checkout, inputs: Path) -> Json:
    """A run that was stopped, a data folder, its backup and its exports; the losses of a whole run."""
    left = checkout.home / "left"
    left.mkdir()
    losses = train(checkout, inputs, left / "whole", "-m", "diptych_training")
    train(checkout, inputs, left / "runs", "-c", STOPPED, status=130)
    with checkout.serving(left / "data") as client:
        for number, name in enumerate(("first", "second")):
            client.post("/collections", json={"name": name}).raise_for_status()
            for seed in range(8):
                items = json.dumps([{"id": f"{seed}", "metadata": {"seed": seed}}])
                files: Json = {"image": picture(seed + 5 * number), "items": (None, items)}
                client.post(f"/collections/{name}/images", files=files).raise_for_status()
            client.delete(f"/collections/{name}/images/7").raise_for_status()
    data = ("--data-dir", str(left / "data"))
    checkout.python("-m", "diptych", "backup", str(left / "backup"), *data)
    export = (
        "-m",
        "diptych",
        "collections",
        "export",
        *data,
        "--model-repo",
        str(checkout.root / "model_repo"),
    )
    checkout.python(*export, "first", str(left / "first.parquet"))
    checkout.python(*export, "second", str(left / "second.parquet"), "--with-images")
    return losses


def opened(checkout: Checkout, inputs: Path, left: Path) -> Json:
    """What a checkout makes of copies of them: losses after resuming, and what searches find."""
    home = checkout.home / f"opened-{left.parent.name}"
    shutil.copytree(left, home)
    losses = train(checkout, inputs, home / "runs", "-m", "diptych_training")
    checkout.python("-m", "diptych", "backup", "--verify", str(home / "backup"))
    restored = ("--data-dir", str(home / "restored"))
    checkout.python("-m", "diptych", "restore", str(home / "backup"), *restored)
    with checkout.serving(home / "restored") as client:
        found: Json = {
            "losses": losses,
            "backup": {name: _hits(client, name) for name in ("first", "second")},
        }
    with checkout.serving(home / "data") as client:
        found["data folder"] = {name: _hits(client, name) for name in ("first", "second")}
        for name in ("first", "second"):
            to = ("--into", f"imported-{name}", "--url", str(client.base_url), "--api-key", KEY)
            checkout.python("-m", "diptych", "collections", "import", str(home / f"{name}.parquet"), *to)
        found["exports"] = {name: _hits(client, f"imported-{name}") for name in ("first", "second")}
    return found


def _hits(client: httpx.Client, collection: str) -> Json:
    found: Json = {}
    for query in QUERIES:
        response = client.post("/search", json={"query": query, "collection": collection, "exact": True})
        for hit in response.raise_for_status().json()["hits"]:
            found[f"{query} {hit['id']}"] = [hit["cosine"], hit["relevance"], hit["metadata"]]
    return found
