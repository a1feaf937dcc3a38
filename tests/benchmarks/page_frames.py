"""What the web page costs the browser: bytes, nodes, and processor time for each frame while it scrolls.

    python -m benchmarks.page_frames [--pictures 10000]

Serves a tiny model with ready-made vectors in place of pictures, and scrolls through all of them in Chromium:
in squares, in rows of their own proportions, and by month.
Times are processor time of the page's main thread, so that a busy machine does not count. Prints one markdown
table.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
from playwright.sync_api import Page

from diptych_client import Client
from support.browser import chromium
from support.server import serve
from support.tiny_bundle import TINY, write_tiny_bundle

SIZES = [(360, 740), (1280, 800), (2560, 1440)]
N_STEPS = 120
LOOKS = [  # name, address, whether pictures are in rows of their own proportions
    ("squares", "", "false"),
    ("rows", "", "true"),
    ("months in rows", "/#/search?order=file.modified", "true"),
]
PARTS = {"script": "ScriptDuration", "layout": "LayoutDuration", "style": "RecalcStyleDuration"}
SCROLL = """(y) => new Promise((resolve) => {
  scrollTo(0, y);
  requestAnimationFrame(() => requestAnimationFrame(resolve));
})"""
BYTES = """() => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
  .filter(({ name }) => name.includes("/assets/") || name.endsWith("/"))
  .reduce((sum, { transferSize }) => sum + transferSize, 0)"""


def fill(url: str, n_pictures: int) -> None:
    """Add vectors with metadata: there is nothing to decode."""
    with Client(url) as client:
        model = client.embed(texts=["red"]).model
        rows = (
            np.random.default_rng(0).normal(size=(n_pictures, client.version().embed_dim)).astype(np.float32)
        )
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        metadata = [
            {
                "name": f"picture {i}",
                "year": 2000 + i % 25,
                "file": {"modified": f"{2000 + i % 25}-{1 + i % 12:02}-01"},
            }
            for i in range(n_pictures)
        ]
        client.add_vectors(rows, model=model, ids=[f"p{i:07}" for i in range(n_pictures)], metadata=metadata)


def frames_ms(page: Page) -> list[dict[str, float]]:
    """Scroll from top to bottom; the processor time of each part in each step."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> dict[str, float]:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return {one["name"]: 1000 * one["value"] for one in metrics}

    height = page.evaluate("document.documentElement.scrollHeight - innerHeight")
    found = []
    for step in range(N_STEPS + 1):
        before = spent()
        page.evaluate(SCROLL, height * step / N_STEPS)
        after = spent()
        found.append({part: after[name] - before[name] for part, name in PARTS.items()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=10_000)
    n_pictures = parser.parse_args().pictures
    print("| window | kB loaded | nodes | script ms a frame, median and most | layout | style |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "model_repo"
        write_tiny_bundle(repo)
        with serve(repo, TINY, Path(folder) / "data") as server, chromium() as browser:
            fill(server.url, n_pictures)
            for (width, height), (look, address, rows) in product(SIZES, LOOKS):
                page = browser.new_page(viewport={"width": width, "height": height})
                page.add_init_script(f"localStorage.setItem('diptych.rows', '{rows}')")
                page.goto(server.url + address)
                page.locator(".tile").first.wait_for()
                page.wait_for_load_state("networkidle")
                kilobytes = page.evaluate(BYTES) / 1000
                frames = frames_ms(page)
                nodes = page.evaluate("document.querySelectorAll('body *').length")
                spent = [[frame[part] for frame in frames] for part in PARTS]
                times = [f"{median(of_part):.1f}, {max(of_part):.1f}" for of_part in spent]
                print(f"| {width} x {height}, {look} | {kilobytes:.0f} | {nodes} | {' | '.join(times)} |")
                page.close()


if __name__ == "__main__":
    main()
