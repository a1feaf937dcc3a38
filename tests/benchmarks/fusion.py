"""Searches by words and meaning: what `"match": "both"` finds, and what putting both together costs.

    PYTHONPATH=tests python -m benchmarks.fusion [--rows N] [--write FILE]

A server has the sample gallery with its metadata. Each word of `wide_queries.json` that is in no metadata is
planted in that of a picture which it does not mean. A word that one picture alone carries must find it first;
queries whose words no picture carries must find what meaning finds, the absurd ones nothing that may fit in
addition. Weights are compared where half of the pictures that a word means, and some others, are tagged with
it. Then a million rows get vectors like those of the gallery and 24 words each by Zipf's law, and one word is
searched for in each way, in turns. The status is 1 when a bar is missed.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.inputs import GALLERY
from benchmarks.load import add_vectors, ask_once, post_json
from benchmarks.relevance import ABSURD, WIDE, Pictures, sample_gallery
from benchmarks.report import OtherPrograms, Verdict, conditions, finish, say, table, verdicts_table
from benchmarks.search_words import mixed
from benchmarks.servers import Running, cpu_seconds, diptych, get_json, running
from diptych.adapters.faiss.cpu_index import MIN_ROWS
from diptych.bundle.calibration import RECOMMENDED_RELEVANCE, Calibration, calibration_file, read_calibration
from diptych.bundle.repository import ModelRepository
from diptych.core.collections.metadata.tokens import tokens
from diptych.core.collections.metadata.words import document_of
from diptych.core.collections.ranking import fusion
from diptych.core.collections.ranking.fusion import fused
from diptych.core.collections.upkeep.index_texts import nouns
from diptych_client import Client, Hit
from diptych_training.evaluate.embedding import embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel, load_evaluated_bundle, named_bundle
from support.default_model import DEFAULT_MODEL, MODEL_REPO, default_bundle

MARKS = "bench-fusion"
FIRST = 0.98  # of words that one picture carries: so often it is the first hit
COLLECTION, NOTE, MIN_CHARS, K = "judged", "note", 3, 100
WEIGHTS = (0.5, 1.0, 1.5, 2.0, 4.0)  # of words, where meaning has 1
WRONG = (0.0, 0.25, 0.5)  # tagged pictures that the word does not mean, as a share of the others
ROUNDS, MIN_MEANT = 10, 5
MATCHES = ("meaning", "words", "both")
N_CARRIERS, MOST_CARRIERS = (1, 100, 10_000, 500_000), 10_000  # of a million rows; those of the bar
NEEDLE = "needle"  # which one row has
N_WORDS, TEXTS, TEXT_WORDS = 50_000, ("caption", "alt", "notes"), 8
N_QUERIES, N_REPEATS, N_TURNS, BATCH = 4, 12, 8, 5_000
MAX_MORE_MS = 10.0  # of processor time that both may take over meaning alone

Item = dict[str, Any]


def main() -> int:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="of the large collection")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the file's marks")
    args = parser.parse_args()
    others = OtherPrograms()
    model, calibration = default_model()
    pictures, _ = sample_gallery(model, GALLERY)
    found, verdicts = judged()
    weights = weights_table(model, calibration, pictures)
    costs, bars = costs_in(args.rows, pictures.rows)
    verdicts += bars
    command = f"PYTHONPATH=tests python -m benchmarks.fusion --rows {args.rows}"
    parts = [f"{conditions(command)} {others.said()}", verdicts_table(verdicts), found, weights, costs]
    finish("\n\n".join(parts) + "\n", args.write, MARKS)
    return 0 if all(verdict.met for verdict in verdicts) else 1


def judged() -> tuple[str, list[Verdict]]:
    """What a server finds in the gallery."""
    lines = (GALLERY / "items.jsonl").read_text(encoding="utf-8").splitlines()
    items: list[Item] = [json.loads(line) for line in lines]
    planted = plant(items)
    carried = Counter(word for item in items for word in set(words_of(item)))
    own = [
        (word, item["id"])
        for item in items
        for word in sorted(set(words_of(item)))
        if carried[word] == 1 and len(word) >= MIN_CHARS and word not in planted
    ]
    absent = [noun for noun in nouns() if not any(carried[word] for word in tokens(noun))]
    absurd = ABSURD.read_text(encoding="utf-8").splitlines()
    with (
        tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder,
        running(diptych(MODEL_REPO, DEFAULT_MODEL, Path(folder))) as server,
        Client(f"http://127.0.0.1:{server.port}", timeout_s=600) as client,
    ):
        say(f"adding {len(items)} pictures")
        client.create_collection(COLLECTION)
        files = [GALLERY / item["file"] for item in items]
        client.add(
            files,
            ids=[item["id"] for item in items],
            metadata=[item["metadata"] for item in items],
            collection=COLLECTION,
        )
        say("searching")
        kinds = {"of the gallery": own, "planted where they do not fit": list(planted.items())}
        shares = {kind: share_first(client, pairs) for kind, pairs in kinds.items()}
        differ = sum(search(client, one, "both") != search(client, one, "meaning") for one in absent)
        fitting = {
            match: sum(n_fitting(search(client, one, match)) for one in absurd)
            for match in ("meaning", "both")
        }
    rows = [[f"words {kind}", f"{len(pairs):,}", f"{shares[kind]:.3f}"] for kind, pairs in kinds.items()]
    verdicts = [
        Verdict(
            f"first hit is the picture with the word, {kind}", f">= {FIRST}", f"{share:.3f}", share >= FIRST
        )
        for kind, share in shares.items()
    ]
    verdicts += [
        Verdict(
            "queries whose words no picture carries that find something else",
            "0",
            f"{differ} of {len(absent)}",
            differ == 0,
        ),
        Verdict(
            "hits of absurd queries that may fit, by both and by meaning",
            "no more",
            f"{fitting['both']} and {fitting['meaning']} of {len(absurd)} queries",
            fitting["both"] <= fitting["meaning"],
        ),
    ]
    return table(["query", "queries", "its picture is first"], rows), verdicts


def plant(items: Sequence[Item]) -> dict[str, str]:
    """Note each wide word that no metadata has at a picture which it does not mean: word -> id."""
    wide: Mapping[str, Sequence[str]] = json.loads(WIDE.read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    known = {word for item in items for word in words_of(item)}
    planted: dict[str, str] = {}
    for word, means in wide.items():
        if known.isdisjoint(tokens(word)):
            free = [
                one for one in items if one["metadata"]["name"] not in means and NOTE not in one["metadata"]
            ]
            chosen = free[rng.integers(len(free))]
            chosen["metadata"][NOTE] = word
            planted[word] = chosen["id"]
    return planted


def words_of(item: Item) -> list[str]:
    """The tokens of an item's id and metadata."""
    document = document_of(item["id"], item["metadata"], None)
    return tokens(f"{document.name} {document.caption} {document.other}")


def search(client: Client, text: str, match: Any) -> tuple[Hit, ...]:
    """The hits of one page."""
    return client.search(text, collection=COLLECTION, match=match, k=K).hits


def share_first(client: Client, pairs: Sequence[tuple[str, str]]) -> float:
    """How many of the words find their picture first."""
    return float(np.mean([search(client, word, "both")[0].id == id for word, id in pairs]))


def n_fitting(hits: Iterable[Hit]) -> int:
    """How many hits may fit."""
    return sum(bool(hit.matched) for hit in hits)


def default_model() -> tuple[EvaluatedModel, Calibration]:
    """The model that comes with the sources, and its calibration."""
    repository = ModelRepository(MODEL_REPO)
    name, version = named_bundle(repository, DEFAULT_MODEL)
    model = load_evaluated_bundle(repository, name, version, precision="fp32", n_threads=1)
    file = calibration_file(repository.folder(name, version))
    return model, read_calibration(file, repository.manifest(name, version))


def weights_table(model: EvaluatedModel, calibration: Calibration, pictures: Pictures) -> str:
    """Mean average precision of wide words by the weight of words."""
    wide: Mapping[str, Sequence[str]] = json.loads(WIDE.read_text(encoding="utf-8"))
    queries = embed_texts(model.encoder, model.tokenizer, list(wide))
    keys, rankings = np.arange(len(pictures.rows)), []
    for query, means in zip(queries, wide.values(), strict=True):
        cosines = pictures.rows @ query
        near = np.argsort(-cosines, kind="stable")
        relevance = calibration.relevance(
            "text", query, cosines[near], best=float(cosines[near[0]]), n_images=len(keys)
        )
        assert relevance is not None
        n_fitting = int((relevance >= RECOMMENDED_RELEVANCE).sum())
        rankings.append((keys[np.isin(pictures.names, means)], near, n_fitting))
    rankings = [one for one in rankings if len(one[0]) >= MIN_MEANT]
    rows = []
    for wrong in WRONG:
        cells = [np.mean([precision(near, right) for right, near, _ in rankings])]
        for weight in WEIGHTS:
            with patch.object(fusion, "WORDS_WEIGHT", weight):
                cells.append(np.mean([*tagged_precisions(rankings, wrong)]))
        rows.append([f"{wrong:.0%} wrong tags", *(f"{cell:.3f}" for cell in cells)])
    return table(["mean average precision", "meaning", *(f"words {weight:g}" for weight in WEIGHTS)], rows)


def tagged_precisions(rankings: Sequence[tuple[Any, Any, int]], wrong: float) -> Iterable[float]:
    """Average precisions where half of the right pictures, and some wrong ones, carry the word."""
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS):
        for right, near, n_fitting in rankings:
            tagged = rng.choice(right, (len(right) + 1) // 2, replace=False)
            others = np.setdiff1d(near, right)
            mistaken = rng.choice(others, round(wrong * len(tagged)), replace=False)
            carriers = rng.permutation(np.concatenate([tagged, mistaken]))
            yield precision(fused(carriers, near, n_fitting, len(near)), right)


def precision(order: Any, right: Any) -> float:
    """The average precision of a ranking of all pictures."""
    is_right = np.isin(order, right)
    return float((is_right.cumsum() / np.arange(1, len(order) + 1))[is_right].mean())


def costs_in(n_rows: int, pictures: Any) -> tuple[str, list[Verdict]]:
    """What a search takes over HTTP in a collection of so many rows, by how many of them carry its word."""
    shares = 1 / np.arange(1, N_WORDS + 1)
    words = np.random.default_rng(0).choice(
        N_WORDS, (n_rows, len(TEXTS) * TEXT_WORDS), p=shares / shares.sum()
    )
    n_with = np.bincount(words.ravel(), minlength=N_WORDS)  # about: a row may have a word twice
    with (
        tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder,
        running(diptych(MODEL_REPO, DEFAULT_MODEL, Path(folder))) as server,
    ):
        say(f"adding {n_rows:,} rows")
        ask_once(server, post_json("/collections", {"name": COLLECTION}))
        rows = mixed(pictures, n_rows)
        origin = DEFAULT_MODEL, int(default_bundle().name)
        for start in range(0, n_rows, BATCH):
            some = words[start : start + BATCH]
            ids = [f"{start + i:08}" for i in range(len(some))]
            metadata = [texts_of(row) for row in some.tolist()]
            if start == 0:
                metadata[0]["more"] = NEEDLE
            ask_once(server, add_vectors(COLLECTION, origin, ids, rows[start : start + BATCH], metadata))
        del rows
        while n_rows >= MIN_ROWS and kind_of_index(server) != "ivf":
            time.sleep(1)
        lines, verdicts = [], list[Verdict]()
        with Client(f"http://127.0.0.1:{server.port}") as client:
            for wanted in N_CARRIERS:
                near = np.argsort(abs(n_with - wanted * n_rows // 1_000_000))[:N_QUERIES].tolist()
                some = [NEEDLE] if wanted == 1 else [f"w{word}" for word in near]
                n_found = 1 if wanted == 1 else int(np.median(n_with[near]))
                times, cpu = timed(client, server, some)
                lines.append([f"{n_found:,}", *(f"{one:,.1f}" for one in (*times, *cpu))])
                if wanted <= MOST_CARRIERS:
                    more = cpu[MATCHES.index("both")] - cpu[MATCHES.index("meaning")]
                    what = f"processor ms of both over meaning, a word of {n_found:,} rows"
                    verdicts.append(Verdict(what, f"<= {MAX_MORE_MS:g}", f"{more:.1f}", more <= MAX_MORE_MS))
    kinds = [f"{match}, {unit}" for unit in ("p50 ms", "processor ms") for match in MATCHES]
    header = [f"rows with the word, of {n_rows:,}", *kinds]
    return table(header, lines), verdicts


def texts_of(words: Sequence[int]) -> dict[str, str]:
    """The metadata of a row with these words."""
    starts = range(0, len(words), TEXT_WORDS)
    parts = [" ".join(f"w{word}" for word in words[start : start + TEXT_WORDS]) for start in starts]
    return dict(zip(TEXTS, parts, strict=True))


def kind_of_index(server: Running) -> str:
    """How the collection is searched."""
    return str(get_json(server.port, f"/collections/{COLLECTION}")["index"]["kind"])


def timed(client: Client, server: Running, words: Sequence[str]) -> tuple[list[float], list[float]]:
    """Medians of the milliseconds of a search, and processor milliseconds of the server, in each way."""
    times: dict[Any, list[float]] = {match: [] for match in MATCHES}
    cpu_s = dict.fromkeys(MATCHES, 0.0)
    for turn in range(N_TURNS + 1):
        for match, found in times.items():
            before = cpu_seconds(server.pid)
            for _ in range(N_REPEATS // len(words)):
                for word in words:
                    began = time.perf_counter()
                    client.search(word, collection=COLLECTION, match=match)
                    if turn:  # the first one warms up
                        found.append(1e3 * (time.perf_counter() - began))
            cpu_s[match] += (cpu_seconds(server.pid) - before) if turn else 0.0
    return [float(np.median(found)) for found in times.values()], [
        1e3 * cpu_s[match] / len(found) for match, found in times.items()
    ]


if __name__ == "__main__":
    raise SystemExit(main())
