"""Add pictures one after another and print each id once it is acknowledged, until killed from outside."""

import asyncio
import sys
from pathlib import Path

from integration.store_parts import Opened, tiny_png


async def main(model_repo: Path, data_dir: Path) -> None:
    async with Opened(model_repo, data_dir, version=1) as opened:
        n = (await opened.collections.get("default")).n_images
        while True:
            n += 1
            outcome = await opened.add("default", tiny_png(n), f"i{n}", {"n": n})
            print(outcome.id, flush=True)


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
