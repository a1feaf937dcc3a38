"""How well a running server knows its gallery: zero-shot top-1 against distractors, and Recall@k by name.

For every image of `server/gallery`, photographs and drawings apart: `/classify` with its own name and 19
other names drawn with a fixed seed, and `/search` with its own name, which may find any picture of that name.
Prints one markdown table. Needs `make serve` running beside it.
"""

import argparse
import json
import random
from pathlib import Path

from tqdm import tqdm

from diptych_client import Client

N_DISTRACTORS = 19
RECALL_AT = (1, 5, 10)


def read_items(folder: Path) -> list[dict[str, str]]:
    """The gallery's items: file, name and kind (drawing or photograph) of each image."""
    lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    return [
        {"file": item["file"], **{key: item["metadata"][key] for key in ("name", "kind")}} for item in items
    ]


def classify_top1(client: Client, folder: Path, items: list[dict[str, str]], seed: int) -> float:
    """Share of images whose own name wins against `N_DISTRACTORS` other names of their kind."""
    draw = random.Random(seed)
    names = sorted({item["name"] for item in items})
    n_right = 0
    for item in tqdm(items, desc="classify", unit="image"):
        labels = [*draw.sample([name for name in names if name != item["name"]], N_DISTRACTORS), item["name"]]
        draw.shuffle(labels)
        answer = client.classify([folder / item["file"]], labels, top_k=1)
        n_right += answer.data[0].predictions[0].label == item["name"]
    return n_right / len(items)


def search_recall(client: Client, items: list[dict[str, str]]) -> dict[int, float]:
    """Recall@k of `/search` by name: the share of images with one of their name among the first k hits."""
    n_found = dict.fromkeys(RECALL_AT, 0)
    for item in tqdm(items, desc="search", unit="query"):
        answer = client.search(item["name"], k=max(RECALL_AT), collection="gallery")
        names = [hit.metadata["name"] for hit in answer.hits]
        for k in RECALL_AT:
            n_found[k] += item["name"] in names[:k]
    return {k: n / len(items) for k, n in n_found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--gallery", type=Path, default=Path("server/gallery"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    items = read_items(args.gallery)
    print("| images | /classify top-1 of 20 | " + " | ".join(f"/search Recall@{k}" for k in RECALL_AT) + " |")
    print("|---" * (2 + len(RECALL_AT)) + "|")
    with Client(args.url) as client:
        for kind in sorted({item["kind"] for item in items}):
            of_kind = [item for item in items if item["kind"] == kind]
            top1 = classify_top1(client, args.gallery, of_kind, args.seed)
            recall = search_recall(client, of_kind)
            cells = " | ".join(f"{share:.3f}" for share in (top1, *recall.values()))
            print(f"| {len(of_kind)} {kind}s | {cells} |", flush=True)


if __name__ == "__main__":
    main()
