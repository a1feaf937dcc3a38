"""What wiring refuses to build, how the gallery is loaded, and what `diptych check` finds."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.files.data_lock import DataLock
from diptych.cli import main
from diptych.cli.process import gallery
from diptych.cli.process.gallery import Gallery
from diptych.errors import ConfigError, NotReady, StoreFull
from diptych.settings import Settings
from diptych.wiring.services import build, load
from support.app import FIXED_PLAN
from support.fixtures import model_repo_fixture
from support.one_search import search_by_vector
from support.pictures import noise
from support.tiny_bundle import TINY, write_tiny_bundle

model_repo = model_repo_fixture({}, {"seed": 1}, {"name": "ungated", "ungated": True})


def settings(repo: Path, data_dir: Path, **given: Any) -> Settings:
    return Settings(**{"model_repo": repo, "model": TINY, "data_dir": data_dir, **FIXED_PLAN, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "unheard-of"}, "it holds tiny, ungated: choose with --model"),
        ({"model_repo": Path("/nowhere")}, "diptych-train export"),
        ({"version": 7}, "no version 7, only 1, 2"),
        ({"model": "ungated"}, "--allow-ungated"),
    ],
)
def test_unknown_model_or_version_is_an_error_that_says_what_exists_and_what_to_do(
    model_repo: Path, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        build(settings(model_repo, tmp_path / "data", **given))
    assert not (tmp_path / "data").exists()


def test_missing_device_is_an_error_and_frees_the_data_folder(model_repo: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CUDAExecutionProvider"):
        build(settings(model_repo, tmp_path, device="cuda"))
    DataLock(tmp_path).close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1"),
        ('{"file": "a.png"}', "line 1"),
        ('{"file": "a.png", "id": "a"}', "no file 'a.png'"),
        ('{"file": "../items.jsonl", "id": "a"}', "no file"),
    ],
)
def test_unreadable_gallery_is_refused_with_file_and_line(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"items\.jsonl"):
        Gallery(tmp_path)
    (tmp_path / "items.jsonl").write_text(line)
    with pytest.raises(ConfigError, match=words):
        Gallery(tmp_path)


@pytest.mark.parametrize(
    ("given", "n_loaded"),
    [
        ({"max_items": 3, "max_queue_items": 3}, 10),
        (
            {"max_body_bytes": 4_000, "max_inflight_body_bytes": 4_000},
            9,
        ),  # one image alone is more than the queue holds
    ],
    ids=["few items", "few bytes"],
)
def test_gallery_is_loaded_through_a_queue_smaller_than_its_batch(
    model_repo: Path, tmp_path: Path, given: dict[str, Any], n_loaded: int
) -> None:
    pictures = [noise(n, (16, 16)) for n in range(9)] + [noise(9, (40, 40))]
    for n, payload in enumerate(pictures):
        (tmp_path / f"{n}.png").write_bytes(payload)
    lines = [json.dumps({"file": f"{n}.png", "id": str(n)}) for n in range(len(pictures))]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))

    async def run() -> int:
        services = await load(settings(model_repo, tmp_path / "data", **given))
        await Gallery(tmp_path).fill(services)
        info = await services.collections.get("gallery")
        await services.close()
        return info.n_images

    assert asyncio.run(run()) == n_loaded


def write_gallery(folder: Path, n_images: int) -> None:
    for n in range(n_images):
        (folder / f"{n}.png").write_bytes(noise(n, (16, 16)))
    lines = [json.dumps({"file": f"{n}.png", "id": str(n)}) for n in range(n_images)]
    (folder / "items.jsonl").write_text("\n".join(lines))


def test_gallery_is_loaded_once_and_follows_its_folder(
    model_repo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_gallery(tmp_path, 2)

    async def fill() -> None:
        services = await load(settings(model_repo, tmp_path / "data"))
        await Gallery(tmp_path).fill(services)
        await services.close()

    for changed, counts in (
        (None, {"created": 2}),
        (None, {"unchanged": 2}),
        (noise(9), {"replaced": 1, "unchanged": 1}),
    ):
        if changed is not None:
            (tmp_path / "0.png").write_bytes(changed)
        caplog.clear()
        asyncio.run(fill())
        (loaded,) = [one for one in caplog.records if one.message == "the gallery is loaded"]
        assert vars(loaded)["fields"] == {"images": 2, **counts}


def test_check_proves_sound_bundles_and_finds_a_damaged_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_DEVICE", "cpu")
    write_tiny_bundle(tmp_path)
    assert main(["check", "--model-repo", str(tmp_path), "tiny/1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tiny/1  sound   fp32",
        "  on CPUExecutionProvider: set by DIPTYCH_DEVICE",
        "  auto is fp32: the only one that passed here",
        "    fp32  passed",
        "    bf16  not offered here: the package onnxruntime-ep-openvino is not installed",
    ]
    write_tiny_bundle(tmp_path, ungated=True)
    assert main(["check", "--model-repo", str(tmp_path), "tiny/2"]) == 0
    why = "it was built ungated, its parity is unknown: see --allow-ungated"
    assert f"tiny/2  sound   fp32\n  not served: {why}\n" in capsys.readouterr().out
    (tmp_path / "tiny" / "1" / "golden.npz").write_bytes(b"")
    assert main(["check", "--model-repo", str(tmp_path)]) == 1
    assert "golden.npz" in capsys.readouterr().out
    assert main(["check", "--model-repo", str(tmp_path), "absent"]) == 1


def test_gallery_is_retried_after_a_full_disk_and_is_reported_as_loading_meanwhile(
    model_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gallery, "RETRY_S", 0.0)
    write_gallery(tmp_path, 2)

    async def run() -> list[str]:
        services, seen = await load(settings(model_repo, tmp_path / "data")), list[str]()
        collections = services.collections
        query, add_many = (
            (await services.serving.current.version.embedder.embed_text("red")).embedding,
            collections.add_many,
        )

        async def full_disk(*items: Any, **options: Any) -> Any:
            monkeypatch.setattr(collections, "add_many", search_and_add)
            raise StoreFull("no space is left")

        async def search_and_add(*items: Any, **options: Any) -> Any:
            with pytest.raises(NotReady, match="is being loaded: 0 of 2"):
                await search_by_vector(services.serving, collections, "gallery", query, k=9)
            return await add_many(*items, **options)

        monkeypatch.setattr(collections, "add_many", full_disk)
        await Gallery(tmp_path).fill(services)
        seen += [
            hit.id for hit in await search_by_vector(services.serving, collections, "gallery", query, k=9)
        ]
        await services.close()
        return seen

    assert sorted(asyncio.run(run())) == ["0", "1"]
    assert "the gallery is not loaded, the next try is in 0 s: no space is left" in caplog.messages


def test_missing_picture_does_not_keep_others_out_of_the_gallery(
    model_repo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_gallery(tmp_path, 3)

    async def run() -> int:
        services, samples = await load(settings(model_repo, tmp_path / "data")), Gallery(tmp_path)
        (tmp_path / "1.png").unlink()
        await samples.fill(services)
        info = await services.collections.get("gallery")
        await services.close()
        return info.n_images

    assert asyncio.run(run()) == 2
    assert "gallery image 1.png cannot be read: No such file or directory" in caplog.messages
