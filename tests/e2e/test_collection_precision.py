"""Two collections of the same images, each of its own precision: served, changed, exported, restored."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import TOKENIZER_FILE, Manifest
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_client import Client, Conflict, InvalidValue
from support.pictures import noise, picture
from support.server import serve
from support.tiny_bundle import TINY, write_tiny_bundle
from support.tiny_graphs import COLOURS

WITHIN_S = 60
PICTURES = {colour: picture(colour) for colour in COLOURS} | {f"noise-{n}": noise(n) for n in range(6)}


def diptych(*arguments: object) -> Any:
    """What the command prints as JSON."""
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout) if "--json" in arguments else ran.stdout


def encoder_of(repo: Path, precision: str) -> tuple[OnnxEncoder, Manifest, Path]:
    """The graphs of that precision themselves."""
    folder, manifest = ModelRepository(repo).folder(TINY, 1), ModelRepository(repo).manifest(TINY, 1)
    files = manifest.precisions[precision]
    return OnnxEncoder(folder / files.image_file, folder / files.text_file, n_threads=1), manifest, folder


def encoded(repo: Path, precision: str) -> dict[str, Any]:
    """id -> (D,)."""
    encoder, manifest, _ = encoder_of(repo, precision)
    pixels = np.stack([load_pixels(one, manifest.image, ImageLimits()) for one in PICTURES.values()])
    return dict(zip(PICTURES, encoder.encode_image(pixels), strict=True))


def best(repo: Path, precision: str, words: str) -> tuple[str, float]:
    """The id and cosine that these words should find."""
    encoder, manifest, folder = encoder_of(repo, precision)
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, manifest.text)
    (query,) = encoder.encode_text(tokenizer([words]).input_ids)
    return max(
        ((id, float(row @ query)) for id, row in encoded(repo, precision).items()), key=lambda hit: hit[1]
    )


def exported(repo: Path, data_dir: Path, name: str, file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the export says of its rows, and id -> (D,)."""
    diptych("collections", "export", name, file, "--data-dir", data_dir, "--model-repo", repo, "--overwrite")
    table = pq.read_table(file)
    rows = zip(table["id"].to_pylist(), table["embedding"].to_pylist(), strict=True)
    return json.loads(table.schema.metadata[b"diptych"]), {id: np.array(row, np.float32) for id, row in rows}


def check_vectors(repo: Path, data_dir: Path, name: str, precision: str, file: Path) -> dict[str, Any]:
    heading, rows = exported(repo, data_dir, name, file)
    assert heading["maker"]["precision"] == precision
    assert rows.keys() == PICTURES.keys()
    for id, row in encoded(repo, precision).items():
        assert np.abs(rows[id] - row).max() < 1e-6
    return heading


def check_search(repo: Path, client: Client, name: str, precision: str) -> None:
    for colour in COLOURS:
        found = client.search(colour, collection=name, k=3)
        id, cosine = best(repo, precision, colour)
        assert (found.model.precision, found.hits[0].id) == (precision, id)
        assert found.hits[0].cosine == pytest.approx(cosine, abs=1e-5)
    hit, *_ = client.search(image=PICTURES["noise-2"], collection=name).hits
    assert (hit.id, round(hit.cosine, 5)) == ("noise-2", 1)


def wait_until_moved(client: Client, name: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while client.collection(name).rollout is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.long
def test_two_precisions_beside_each_other_through_restart_change_backup_and_export(tmp_path: Path) -> None:
    repo, data_dir = tmp_path / "model_repo", tmp_path / "data"
    write_tiny_bundle(repo, precisions={"fp32": "equal", "int8": "rounded"})
    two = {"exact": "fp32", "small": "int8"}
    with serve(repo, TINY, data_dir, "--precision", "fp32") as server, Client(server.url) as client:
        for name, precision in two.items():
            made = diptych(
                "collections", "create", name, "--precision", precision, "--url", server.url, "--json"
            )
            assert made["vectors"]["precision"] == made["precision"] == precision
            client.add(list(PICTURES.values()), ids=list(PICTURES), collection=name)
            check_search(repo, client, name, precision)
            check_vectors(repo, data_dir, name, precision, tmp_path / f"{name}.parquet")
        with pytest.raises(InvalidValue, match="tiny/1 has no precision 'bf16', only fp32, int8"):
            client.create_collection("more", precision="bf16")
        server.stop()
    with serve(repo, TINY, data_dir, "--precision", "fp32") as server, Client(server.url) as client:
        for name, precision in two.items():
            assert client.collection(name).state == "ready"
            check_search(repo, client, name, precision)
        told = diptych("collections", "configure", "exact", "--precision", "int8", "--url", server.url)
        assert "ready, moving to tiny/1 (int8): " in told
        wait_until_moved(client, "exact")
        check_search(repo, client, "exact", "int8")
        heading = check_vectors(repo, data_dir, "exact", "int8", tmp_path / "exact.parquet")
        assert heading["precision"] == "int8"
        client.create_collection("bare", keep="none")
        client.add([PICTURES["red"]], collection="bare")
        with pytest.raises(Conflict, match="1 of 1 rows keep no image"):
            client.change_collection("bare", precision="int8")
        said = diptych(
            "collections",
            "import",
            tmp_path / "exact.parquet",
            "--into",
            "copy",
            "--url",
            server.url,
            "--json",
        )
        assert said["created"] == len(PICTURES)
        assert client.collection("copy").precision == "int8"
        check_search(repo, client, "copy", "int8")
        diptych("backup", tmp_path / "backup", "--data-dir", data_dir)
        server.stop()
    restored = tmp_path / "restored"
    diptych("restore", tmp_path / "backup", "--data-dir", restored)
    with serve(repo, TINY, restored, "--precision", "fp32") as server, Client(server.url) as client:
        assert {one.name: one.precision for one in client.collections()} == {
            "bare": "server", "copy": "int8", "default": "server", "exact": "int8", "small": "int8",
        }  # fmt: skip
        check_search(repo, client, "small", "int8")
