"""`diptych-train refresh --collection`: the reviewed pictures of a server become a version that it serves."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from diptych_client import Client, Label
from diptych_training.cli import main
from diptych_training.data.packed import read_dataset
from diptych_training.paths import cache_dir
from diptych_training.refresh.evaluation.results import Evaluation
from diptych_training.refresh.pairs.findings import read_report
from diptych_training.refresh.reviewed.fetch import fetch_reviewed
from diptych_training.refresh.reviewed.server import address_of
from support.drawn_labels import add_drawn, kind_of, review
from support.server import serve

pytestmark = pytest.mark.usefixtures("few_emoji")

KEY, SYMBOLS = "a key of tests", "symbols"
N_PICTURES, N_REVIEWED, N_KINDS = 40, 30, 5


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, published: Path) -> Iterator[Client]:
    """A server with drawn pictures, most of which were reviewed as they were proposed."""
    home = tmp_path_factory.mktemp("server")
    shutil.copytree(published, home / "repo")
    with (
        serve(home / "repo", "tiny", home / "data", environment={"DIPTYCH_API_KEY": KEY}) as server,
        Client(server.url, KEY) as client,
    ):
        kinds = add_drawn(client, SYMBOLS, home / "pictures", N_PICTURES, N_KINDS)
        labels = [Label(kinds[0], ("valve with a wheel",)), *kinds[1:]]
        client.put_label_set(SYMBOLS, "kind", labels, templates=["{}", "a drawing of {}"])
        pressed = review(client, SYMBOLS, "kind", N_REVIEWED)
        report = client.label_set(SYMBOLS, "kind")
        assert (report.agreement.n, report.agreement.n_agree) == (N_REVIEWED, pressed.n_space)
        assert report.accuracy.n == N_REVIEWED // 5
        yield client


@pytest.fixture
def command(tmp_path: Path, published: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A refresh of `tiny/1` by a few steps, in folders of the test."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIPTYCH_API_KEY", KEY)
    shutil.copytree(published, tmp_path / "repo")
    return [
        "refresh", "--collection", f"{client.url}/collections/{SYMBOLS}", "--label-set", "kind",
        "--from", "tiny", "--name", "mine", "--max-loss", "100", "--model-repo", str(tmp_path / "repo"),
        "--runs-dir", str(tmp_path / "runs"), "--set", "run.steps=4", "--alpha", "0.5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--label-set", "sort"], "symbols has no label set named 'sort'; it has: few, kind, one"),
        (
            ["--label-set", "few"],
            "label set few of symbols: 3 reviewed, 3 to learn from. A refresh needs 20, review more: "
            "diptych labels next few --collection symbols",
        ),
        (["--label-set", "one"], "all with the label 'symbol'. A model learns by telling labels apart"),
        (["--collection", "http://127.0.0.1:9/collections/a"], "http://127.0.0.1:9/collections/a: "),
        (["--collection", "http://127.0.0.1:9/symbols"], "must be the URL of a collection, such as"),
        (["--push", "http://127.0.0.1:9"], "--push http://127.0.0.1:9"),
        (["pictures"], "give either PICTURES, or --collection with --label-set"),
    ],
)  # fmt: skip
def test_a_label_set_that_cannot_be_used_is_one_line_that_says_what_to_do(
    command, client, capsys, change, said
):
    client.put_label_set(SYMBOLS, "few", ["a", "b"])
    client.put_label_set(SYMBOLS, "one", ["symbol", "other"])
    ids = [image.id for image in client.labelled_images(SYMBOLS, "one").images]
    client.give_verdicts(SYMBOLS, "few", dict.fromkeys(ids[:3], "a"))
    client.give_verdicts(SYMBOLS, "one", dict.fromkeys(ids[1:N_REVIEWED], "symbol"))

    assert main([*command, *change]) == 1

    assert said in capsys.readouterr().err


def test_a_model_that_is_not_there_is_named_before_anything_is_downloaded(command, capsys):
    assert main([*command, "--from", "everyday"]) == 1

    assert "no model named 'everyday'" in capsys.readouterr().err
    assert not (cache_dir() / "label-sets").exists()


def test_a_key_without_the_right_is_named_and_not_shown(command, monkeypatch, capsys):
    monkeypatch.setenv("DIPTYCH_API_KEY", "secret-of-another")

    assert main(command) == 1

    said = capsys.readouterr()
    assert "DIPTYCH_API_KEY must be a key that may read the collection" in said.err
    assert "secret-of-another" not in said.out + said.err


def test_pictures_that_reviewers_differ_about_are_counted(command, client):
    image = next(one for one in client.labelled_images(SYMBOLS, "kind").images if one.verdict)
    other = next(
        one.label for one in client.label_set(SYMBOLS, "kind").labels if one.label not in image.labels
    )
    key = client.create_key("second reviewer", "write").key
    address = address_of(f"{client.url}/collections/{SYMBOLS}", "kind")
    with Client(client.url, key) as second:
        second.give_verdicts(SYMBOLS, "kind", {image.id: other})
        text = fetch_reviewed(address, KEY).text
        second.withdraw_verdict(SYMBOLS, "kind", image.id)

    assert "reviewers differ about 1: the later word counts" in text
    assert "differ" not in fetch_reviewed(address, KEY).text


def test_an_interrupted_download_goes_on_and_a_damaged_picture_comes_again(command, client, monkeypatch):
    address = address_of(f"{client.url}/collections/{SYMBOLS}", "kind")
    download, asked = Client.original, list[str]()

    def original(self: Client, collection: str, id: str) -> bytes:
        asked.append(id)
        if len(asked) == 12:
            raise KeyboardInterrupt
        return download(self, collection, id)

    monkeypatch.setattr(Client, "original", original)
    with pytest.raises(KeyboardInterrupt):
        fetch_reviewed(address, KEY)
    interrupted = list(asked)
    kept = {file.stem for file in cache_dir().glob("label-sets/*/symbols-kind/*.png")}
    for path in (cache_dir() / "label-sets").rglob("[!.]*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    assert len(kept) >= 11

    reviewed = fetch_reviewed(address, KEY)
    assert set(asked[len(interrupted) :]).isdisjoint(kept)
    pictures = sorted(reviewed.folder.glob("*.png"))
    assert {file.name for file in pictures} == reviewed.candidates.right.keys()

    whole = pictures[3].read_bytes()
    pictures[3].write_bytes(whole[:100])
    asked.clear()
    fetch_reviewed(address, KEY)
    assert (asked, pictures[3].read_bytes()) == ([pictures[3].stem], whole)


def test_pictures_that_a_model_cannot_learn_from_are_left_out_and_named(command, client, tmp_path):
    kinds = add_drawn(client, "mixed", tmp_path / "pictures", 24, 2)
    ids = [image.id for image in client.list_images("mixed").images]
    vector = np.ones((1, 16), np.float32) / 4
    client.add_vectors(vector, ids=["vector"], model=client.embed(texts=["a"]).model, collection="mixed")
    client.add([tmp_path / "pictures" / f"{ids[0]}.png"], ids=["zz-copy"], collection="mixed")
    client.add([tmp_path / "pictures" / f"{ids[1]}.png"], ids=[".hidden"], collection="mixed")
    client.put_label_set("mixed", "kind", kinds)
    verdicts: dict[str, str | None] = {id: kind_of(id) for id in ids}
    client.give_verdicts("mixed", "kind", {**verdicts, "vector": kinds[0], ids[-1]: None})

    reviewed = fetch_reviewed(address_of(f"{client.url}/collections/mixed", "kind"), KEY)

    assert reviewed.text == (
        "label set kind of mixed: 27 reviewed, 23 to learn from; left out: 1 none of the labels; "
        f"2 copies of others ({ids[1]}, zz-copy); 1 without an original on the server (vector)"
    )
    assert "%2Ehidden.png" in reviewed.candidates.right
    assert {file.name for file in reviewed.folder.glob("*.png")} == reviewed.candidates.right.keys()


def test_reviewed_pictures_become_a_version_that_the_server_serves(command, client, tmp_path, capsys):
    proposed = {image.id: image.proposed for image in client.labelled_images(SYMBOLS, "kind").images}
    before = client.label_set(SYMBOLS, "kind").agreement

    assert main([*command, "--push"]) == 0

    said = capsys.readouterr().out
    assert "label set kind of symbols: 30 reviewed, 30 to learn from\n" in said
    after = client.label_set(SYMBOLS, "kind")
    assert (after.model.name, after.agreement.n) == ("mine", before.n)
    assert f"before: on {before.n_agree} of {before.n} " in said
    assert f"now:    on {after.agreement.n_agree} of {before.n} " in said
    folder = tmp_path / "runs" / "refresh" / "mine-1"
    pairs = read_report(folder / "pairs")
    assert pairs is not None
    assert f"mine/1 (fp32) has learned from {pairs.n_train} of these" in said

    texts = json.loads(next(cache_dir().glob("label-sets/*/symbols-kind/gate-valve-*.json")).read_text())
    assert texts == {"captions": ["gate valve", "valve with a wheel"]}
    assert "Judged among the labels of the set" in (folder / "report.html").read_text()
    # The old model on the held-out pictures is what the server said of them.
    measured = Evaluation.model_validate_json((folder / "judged.json").read_bytes())
    sources = read_dataset(folder / "pairs" / "own").sources("train")
    ids = [Path(item.id.rpartition(":")[2]).stem for source in sources for item in source.items]
    assert measured.old.own is not None
    assert measured.old.own.hits() == [proposed[id] == (kind_of(id),) for id in ids]
    assert measured.old.own.n_labels == N_KINDS
