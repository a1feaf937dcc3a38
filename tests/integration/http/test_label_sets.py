"""Label sets over HTTP: what images are labelled with, and what people say of them."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from diptych.core.labels.assigned import Assigner
from support.app import running_app
from support.calibrations import MAP, write_tiny_calibration
from support.fixtures import client_fixture
from support.image_requests import add_images, data_uri
from support.pictures import noise, picture
from support.tiny_bundle import write_tiny_bundle

client = client_fixture(max_labels=50)
COLOURS = ["red", "green", "blue", "yellow"]
SETS = "/collections/pets/label-sets"
KIND = f"{SETS}/kind"
LOGIT_SCALE = 20  # of the tiny bundle
KEY = "a-key-of-the-tests"
ROOT = "DIPTYCH_API_KEY"  # its name


@pytest.fixture
def images(client: TestClient, images_path: str) -> Iterator[str]:
    """The path of four plain pictures, whose ids are their colours."""
    items = [{"id": colour, "metadata": {"n": n}} for n, colour in enumerate(COLOURS)]
    assert add_images(client, images_path, *map(picture, COLOURS), items=items).status_code == 200
    yield images_path
    for one in client.get(SETS).json()["label_sets"]:
        client.delete(f"{SETS}/{one['name']}")


def put(client: TestClient, labels: Any = ("red", "green", "blue"), **more: Any) -> Any:
    return client.put(KIND, json={"labels": list(labels), **more})


def labelled(client: TestClient, **query: Any) -> dict[str, list[str]]:
    page = client.get(f"{KIND}/images", params=query).json()
    return {image["id"]: image["labels"] for image in page["images"]}


def say(client: TestClient, *verdicts: dict[str, Any]) -> Any:
    return client.post(f"{KIND}/verdicts", json={"verdicts": verdicts})


def ids(client: TestClient, filter: Any) -> list[str]:
    answer = client.get("/collections/pets/images", params={"filter": json.dumps(filter)})
    assert answer.status_code == 200, answer.text
    return [image["id"] for image in answer.json()["images"]]


def label_in(*labels: str | None) -> dict[str, Any]:
    return {"label": {"set": "kind", "in": list(labels)}}


@pytest.mark.parametrize("kind", ["one", "many"])
@pytest.mark.parametrize("templates", ["plain", ["a {}", "the {}."]])
def test_labels_are_those_of_classify(client: TestClient, images: str, kind: str, templates: Any) -> None:
    assert put(client, kind=kind, templates=templates, min_score=0.3).status_code == 200
    found = client.get(f"{KIND}/images").json()["images"]
    assert [image["id"] for image in found] == sorted(COLOURS)
    body = {
        "images": [{"id": image["id"], "collection": "pets"} for image in found],
        "labels": ["red", "green", "blue"],
        "templates": templates,
        "multi_label": kind == "many",
    }
    answer = client.post("/classify", json=body).json()
    for image, classified in zip(found, answer["data"], strict=True):
        best, second, *_ = predictions = classified["predictions"]
        passing = [one["label"] for one in predictions if one["score"] >= 0.3]
        assert image["labels"] == image["proposed"] == (passing if kind == "many" else passing[:1])
        assert image["score"] == pytest.approx(best["score"], abs=1e-5)
        if kind == "one":
            nearest = min(best["score"] - second["score"], abs(best["score"] - 0.3))
        else:
            nearest = min(abs(one["score"] - 0.3) for one in predictions)
        assert image["margin"] == pytest.approx(nearest, abs=1e-5)


def test_label_with_words_stands_for_all_of_them(client: TestClient, images: str) -> None:
    texts = ["red", "green", "blue"]
    items = [*({"text": text} for text in texts), {"image": data_uri(picture("yellow"))}]
    answer = client.post("/embed", json={"input": items}).json()
    red, green, blue, yellow = (np.array(row["embedding"], np.float32) for row in answer["data"])
    mean = (green + blue) / np.linalg.norm(green + blue)
    cosines = {"red": float(red @ yellow), "sea": float(mean @ yellow)}
    put(client, ["red", {"label": "green", "words": ["blue"]}], templates="plain")
    assert labelled(client)["yellow"] == (["red"] if cosines["red"] > cosines["sea"] else ["green"])
    margin = abs(np.tanh(LOGIT_SCALE * (cosines["red"] - cosines["sea"]) / 2))  # of a softmax of two
    (found,) = (one for one in client.get(f"{KIND}/images").json()["images"] if one["id"] == "yellow")
    assert found["margin"] == pytest.approx(margin, abs=1e-4)


def test_images_are_labelled_as_they_come_and_go(client: TestClient, images: str) -> None:
    put(client)
    assert client.get(KIND).json()["n_images"] == 4
    assert add_images(client, images, picture("red", (20, 20)), items=[{"id": "more"}]).status_code == 200
    assert labelled(client)["more"] == ["red"]
    replaced = add_images(client, images, picture("blue", (21, 20)), items=[{"id": "more"}], replace=True)
    assert replaced.status_code == 200
    assert labelled(client)["more"] == ["blue"]
    assert client.delete(f"{images}/more").status_code == 204
    assert "more" not in labelled(client)
    report = client.get(KIND).json()
    assert (report["n_images"], sum(one["n"] for one in report["counts"])) == (4, 4)


def test_word_of_a_person_stands_until_the_next_one(client: TestClient, images: str) -> None:
    put(client)
    first = say(
        client, {"id": "red", "label": "blue"}, {"id": "green", "label": None}, {"id": "no", "label": "red"}
    )
    assert first.json()["unknown"] == ["no"]
    assert [one["before"] for one in first.json()["verdicts"]] == [None, None]
    (second,) = say(client, {"id": "red", "label": "green"}).json()["verdicts"]
    assert (second["labels"], second["before"]["labels"], second["before"]["by"]) == (
        ["green"],
        ["blue"],
        "anyone",
    )
    page = {image["id"]: image for image in client.get(f"{KIND}/images").json()["images"]}
    assert (page["red"]["labels"], page["red"]["by"], page["red"]["proposed"]) == (
        ["green"],
        "person",
        ["red"],
    )
    assert (page["green"]["labels"], page["green"]["by"]) == ([], "person")
    assert list(labelled(client, label="")) == ["green"]
    assert client.delete(f"{KIND}/verdicts/red").json()["labels"] == ["green"]
    assert labelled(client)["red"] == ["red"]
    refused = client.delete(f"{KIND}/verdicts/red")
    assert (refused.status_code, refused.json()["detail"]) == (
        404, "label set 'kind' has no verdict on image 'red'",
    )  # fmt: skip


def test_verdict_belongs_to_the_bytes_of_a_picture(client: TestClient, images: str) -> None:
    put(client)
    add_images(client, images, picture("red"), items=[{"id": "copy"}])
    say(client, {"id": "red", "label": "blue"})
    assert labelled(client)["copy"] == ["blue"]
    for size, expected in (((9, 9), ["red"]), ((40, 32), ["blue"])):  # another picture, then the former one
        add_images(client, images, picture("red", size), items=[{"id": "copy"}], replace=True)
        assert labelled(client)["copy"] == expected
    client.delete(f"{images}/copy")


def test_agreement_counts_images_that_were_reviewed(client: TestClient, images: str) -> None:
    put(client)
    assert client.get(KIND).json()["agreement"] == {
        "n": 0, "n_agree": 0, "interval": None, "n_unlabelled": 0, "labels": [], "confusions": [],
    }  # fmt: skip
    say(
        client,
        {"id": "red", "label": "blue"},
        {"id": "blue", "label": "blue"},
        {"id": "green", "label": None},
    )
    report = client.get(KIND).json()
    agreement = report["agreement"]
    assert (report["n_reviewed"], agreement["n"], agreement["n_agree"]) == (3, 3, 1)
    assert agreement["interval"] == pytest.approx([0.0615, 0.7923], abs=1e-3)
    (blue,) = agreement["labels"]
    assert (blue["label"], blue["n"], blue["n_agree"]) == ("blue", 2, 1)
    confusions = {(one["label"], one["proposed"]): one["n"] for one in agreement["confusions"]}
    assert confusions == {("blue", "red"): 1, (None, "green"): 1}


def test_uncertain_images_come_first_and_reviewed_ones_not_at_all(client: TestClient, images: str) -> None:
    put(client)
    say(client, {"id": "green", "label": "green"})
    by_id = {image["id"]: image["margin"] for image in client.get(f"{KIND}/images").json()["images"]}
    expected = sorted({"red", "blue", "yellow"}, key=lambda id: (by_id[id], COLOURS.index(id)))
    pages, after = list[str](), None
    while after is not None or not pages:
        query = {"uncertain_first": True, "limit": 1} | ({"after": after} if after else {})
        page = client.get(f"{KIND}/images", params=query).json()
        assert page["total"] == 3
        pages += [image["id"] for image in page["images"]]
        after = page["next"]
    assert pages == expected
    for after in ("red", "nan_1", "inf_1", "0.5"):
        refused = client.get(f"{KIND}/images", params={"uncertain_first": True, "after": after})
        assert (refused.status_code, refused.json()["item"]) == (422, "after")


def proposals(client: TestClient, limit: int = 20) -> Any:
    answer = client.get(f"{KIND}/proposals", params={"limit": limit})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_uncertain_images_are_proposed_and_every_fifth_is_drawn(client: TestClient, images: str) -> None:
    put(client)
    more = [(i, 40 * i, 200 - 30 * i) for i in range(6)]
    add_images(client, images, *map(picture, more), items=[{"id": f"more-{i}"} for i in range(6)])
    found = proposals(client)
    margins = [image["margin"] for image in found["images"] if not image["drawn"]]
    assert [image["drawn"] for image in found["images"]] == [False, False, False, False, True] * 2
    assert margins == sorted(margins)
    assert (found["n_unreviewed"], found["revision"], found["model"]["name"]) == (10, 1, "tiny")
    for image in found["images"][:7]:
        assert proposals(client, 1)["images"] == [image]
        verdict = {key: image[key] for key in ("id", "sha256", "drawn")} | {"label": "red"}
        assert say(client, verdict).json()["replaced"] == []
    report = client.get(KIND).json()
    drawn = found["images"][4]
    assert (report["agreement"]["n"], report["accuracy"]["n"]) == (7, 1)
    assert report["accuracy"]["n_agree"] == (drawn["proposed"] == ["red"])
    assert report["accuracy"]["labels"] == []
    left = proposals(client)
    assert [image["id"] for image in left["images"]] == [image["id"] for image in found["images"][7:]]
    assert left["n_unreviewed"] == 3
    for i in range(6):
        client.delete(f"{images}/more-{i}")


def test_both_keys_are_told_of_a_label_that_the_later_one_has_changed(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    with running_app(tmp_path, api_key=KEY) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        other = {"name": "notebook", "scopes": ["read", "write"]}
        notebook = {"Authorization": f"Bearer {client.post('/keys', json=other).json()['key']}"}
        client.post("/collections", json={"name": "pets"})
        items = [{"id": colour} for colour in COLOURS]
        add_images(client, "/collections/pets/images", *map(picture, COLOURS), items=items)
        put(client)
        say(client, {"id": "red", "label": "red"}, {"id": "green", "label": None})
        body = {"verdicts": [{"id": "red", "label": "blue"}, {"id": "green", "label": None}]}
        later = client.post(f"{KIND}/verdicts", json=body, headers=notebook).json()["verdicts"]
        assert [(one["before"]["by"], one["before"]["labels"]) for one in later] == [
            (ROOT, ["red"]),
            (ROOT, []),
        ]
        assert client.get(KIND).json()["n_contested"] == 1
        page = client.get(f"{KIND}/images", params={"contested": True}).json()
        (image,) = page["images"]
        assert (page["total"], image["id"], image["labels"]) == (1, "red", ["blue"])
        assert (image["verdict"]["by"], image["verdict"]["before"]["by"]) == ("notebook", ROOT)
        assert labelled(client, contested=True, label="blue") == {"red": ["blue"]}
        assert labelled(client, contested=True, label="red") == {}
        say(client, {"id": "red", "label": "blue"})
        assert client.get(KIND).json()["n_contested"] == 0
        withdrawn = client.delete(f"{KIND}/verdicts/red").json()
        assert (withdrawn["by"], withdrawn["before"]["by"]) == (ROOT, "notebook")
        assert labelled(client, contested=True) == {"red": ["blue"]}


def test_one_of_near_duplicates_is_proposed(client: TestClient, images: str) -> None:
    put(client)
    other = picture("red", (80, 64), "JPEG")
    add_images(client, images, picture("red"), other, items=[{"id": "copy"}, {"id": "larger"}])
    same = {"red", "copy", "larger"}
    first = proposals(client)
    assert (len(first["images"]), first["n_unreviewed"]) == (4, 6)
    (shown,) = (image for image in first["images"] if image["id"] in same)
    say(client, {"id": "red", "label": "red"})
    (second,) = (image["id"] for image in proposals(client)["images"] if image["id"] in same)
    assert second == "larger"
    assert shown["id"] in same
    for id in ("copy", "larger"):
        client.delete(f"{images}/{id}")


def test_verdict_on_another_picture_than_the_one_that_was_seen_is_not_stored(
    client: TestClient, images: str
) -> None:
    put(client)
    seen = {image["id"]: image["sha256"] for image in proposals(client)["images"]}
    add_images(client, images, picture("red", (9, 9)), items=[{"id": "red"}], replace=True)
    verdicts = [{"id": id, "label": "blue", "sha256": seen[id]} for id in ("red", "green")]
    answer = say(client, *verdicts).json()
    assert ([one["id"] for one in answer["verdicts"]], answer["replaced"]) == (["green"], ["red"])
    assert labelled(client)["red"] == ["red"]
    report = client.get(KIND).json()
    assert (report["n_reviewed"], report["n_lapsed"]) == (1, 0)
    add_images(client, images, picture("green", (9, 9)), items=[{"id": "green"}], replace=True)
    report = client.get(KIND).json()
    assert (report["n_reviewed"], report["n_lapsed"]) == (0, 1)


def test_image_to_which_no_label_is_relevant_is_proposed_as_none(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    write_tiny_calibration(tmp_path / "model_repo", relevance=MAP.model_copy(update={"floor": 5.0}))
    with running_app(tmp_path) as client:
        client.post("/collections", json={"name": "pets"})
        pictures = {colour: picture(colour) for colour in COLOURS} | {"noise": noise(0)}
        items = [{"id": id} for id in pictures]
        add_images(client, "/collections/pets/images", *pictures.values(), items=items)
        put(client, templates="plain")
        found = {image["id"]: image for image in proposals(client)["images"]}
        client.post("/collections", json={"name": "alone"})
        for id, one in pictures.items():
            add_images(client, "/collections/alone/images", one, items=[{"id": id}])
            body = {"query": {"text": found[id]["proposed"][0]}, "collection": "alone"}
            (hit,) = client.post("/search", json=body).json()["hits"]
            assert found[id]["none"] == (hit["relevance"] < 0.1)
            client.delete(f"/collections/alone/images/{id}")
        assert {image["none"] for image in found.values()} == {True, False}


def test_image_below_the_threshold_has_no_label(client: TestClient, images: str) -> None:
    put(client, min_score=1.0)
    report = client.get(KIND).json()
    assert report["n_without_label"] == 4 - sum(one["n"] for one in report["counts"])
    assert set(labelled(client, label="")) == {id for id, labels in labelled(client).items() if not labels}


def test_images_without_a_label_of_the_model_are_counted_by_themselves(
    client: TestClient, images: str
) -> None:
    put(client, min_score=0.999)
    by_id = labelled(client)
    without = [id for id in COLOURS if not by_id[id]]
    assert without
    say(
        client,
        {"id": without[0], "label": "red", "drawn": True},
        *({"id": id, "label": None} for id in without[1:]),
    )
    report = client.get(KIND).json()
    agreement, accuracy = report["agreement"], report["accuracy"]
    n = len(without) - 1
    assert [agreement[key] for key in ("n", "n_agree", "n_unlabelled")] == [n, n, 1]
    assert [accuracy[key] for key in ("n", "n_agree", "n_unlabelled")] == [0, 0, 1]


def test_threshold_is_fitted_to_what_was_said_of_drawn_pictures(client: TestClient, images: str) -> None:
    assert put(client, precision=0.9).json()["precision"] == 0.9
    unfitted = {"min_score": 0.0, "fitted_on": 0, "precision": None, "interval": None}
    assert client.get(KIND).json()["threshold"] == unfitted
    more = {f"more-{i}": noise(i) for i in range(16)}
    add_images(client, images, *more.values(), items=[{"id": id} for id in more])
    before = labelled(client)
    say(client, *({"id": id, "label": None, "drawn": True} for id in more))
    assert client.get(KIND).json()["threshold"] == unfitted
    said = say(client, *({"id": id, "label": before[id][0], "drawn": True} for id in COLOURS))
    assert said.status_code == 200
    report = client.get(KIND).json()
    threshold = report["threshold"]
    page = client.get(f"{KIND}/images").json()["images"]
    right = {image["id"]: bool(image["labels"]) for image in page if image["score"] >= threshold["min_score"]}
    assert (threshold["fitted_on"], threshold["precision"]) == (20, sum(right.values()) / len(right))
    assert {image["id"] for image in page if image["proposed"]} == set(right)
    for id in more:
        client.delete(f"{images}/{id}")


def test_change_of_a_definition_keeps_verdicts_or_is_refused(client: TestClient, images: str) -> None:
    put(client)
    say(client, {"id": "red", "label": "blue"}, {"id": "green", "label": "green"})
    refused = put(client, ["red", "green"])
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith(
        "the new definition does not allow 1 of the verdicts of label set 'kind'"
    )
    assert labelled(client)["red"] == ["blue"]
    changed = put(client, ["red", "green"], drop_verdicts=True).json()
    assert (changed["n_dropped"], changed["revision"]) == (1, 2)
    assert labelled(client)["red"] == ["red"]
    assert client.get(KIND).json()["n_reviewed"] == 1
    assert put(client, ["red", "green"]).json()["revision"] == 2  # nothing to change


def test_set_that_changes_while_its_labels_are_computed_is_read_as_of_one_time(
    client: TestClient, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assigner_of, changes = Assigner.of, list[str]()

    def change(label: str) -> None:
        assert put(client, ["red", label]).status_code == 200
        assert say(client, {"id": "red", "label": label}).status_code == 200

    async def changing(*arguments: Any) -> Assigner:
        if changes:
            await asyncio.to_thread(change, changes.pop())
        return await assigner_of(*arguments)

    monkeypatch.setattr(Assigner, "of", changing)
    reads = [
        lambda: client.get(KIND),
        lambda: client.get("/collections/pets/images", params={"filter": json.dumps(label_in("red"))}),
    ]
    for n, read in enumerate(reads):
        put(client, ["red", f"blue {n}"], drop_verdicts=True)
        changes = [f"pink {n}"]
        assert read().status_code == 200
        assert not changes
        assert labelled(client)["red"] == [f"pink {n}"]


def test_image_may_have_many_labels(client: TestClient, images: str) -> None:
    put(client, kind="many")
    assert say(client, {"id": "red", "labels": ["red", "blue"]}).status_code == 200
    assert labelled(client)["red"] == ["red", "blue"]
    assert "red" in labelled(client, label="blue")
    assert put(client, kind="one").status_code == 409


@pytest.mark.parametrize(
    ("definition", "status", "item"),
    [
        ({"labels": []}, 422, "labels"),
        ({"labels": ["a", "b", "a"]}, 422, "labels[2]"),
        ({"labels": ["a", {"label": " "}]}, 422, "labels[1]"),
        ({"labels": [{"label": "a", "words": ["b", "b"]}]}, 422, "labels[0].words[1]"),
        ({"labels": [{"label": "a", "words": ["b"]}, "b"]}, 422, "labels[0].words[0]"),
        ({"labels": ["b", {"label": "a", "words": ["b"]}]}, 422, "labels[1].words[0]"),
        ({"labels": ["a\nb"]}, 422, "labels[0]"),
        ({"labels": [{"label": "a", "words": ["b\0"]}]}, 422, "labels[0].words[0]"),
        ({"labels": ["a"], "templates": "no"}, 422, "templates"),
        ({"labels": ["a"], "templates": ["no place"]}, 422, "templates[0]"),
        ({"labels": ["a"], "min_score": 2}, 422, "min_score"),
        ({"labels": ["a"], "precision": 0.4}, 422, "precision"),
        ({"labels": ["a"], "precision": 0.9, "min_score": 0.5}, 422, "precision"),
        ({"labels": ["a"], "kind": "some"}, 422, "kind"),
        ({"labels": [str(n) for n in range(51)]}, 413, "labels"),
        ({"labels": [{"label": "a", "words": [str(n) for n in range(50)]}]}, 413, "labels"),
    ],
)
def test_wrong_definition_is_named(
    client: TestClient, images: str, definition: Any, status: int, item: str
) -> None:
    refused = client.put(KIND, json=definition)
    assert (refused.status_code, refused.json()["item"]) == (status, item), refused.json()
    assert client.get(SETS).json() == {"label_sets": []}


def test_wrong_field_of_a_label_is_named_once(client: TestClient, images: str) -> None:
    refused = client.put(KIND, json={"labels": [{"label": "a", "words": 3}]}).json()
    assert (refused["item"], refused["detail"][:17]) == ("labels[0]", "labels[0]: words:")


def test_labels_that_the_encoder_does_not_separate_are_named(client: TestClient, images: str) -> None:
    answer = put(client, ["red", "blue", "red  red"], templates="plain").json()
    assert [one["labels"] for one in answer["alike"]] == [["red", "red  red"]]
    assert answer["alike"][0]["cosine"] > 0.98


@pytest.mark.parametrize(
    ("verdict", "item"),
    [
        ({"id": "red", "label": "pink"}, "verdicts[0]"),
        ({"id": "red", "labels": ["red", "blue"]}, "verdicts[0]"),
        ({"id": "red", "labels": ["red", "red"]}, "verdicts[0]"),
        ({"id": "red"}, "verdicts[0]"),
        ({"id": "red", "label": "red", "sha256": "ab"}, "verdicts[0]"),
        ({"id": "red", "label": "red", "labels": ["red"]}, "verdicts[0]"),
    ],
)
def test_wrong_verdict_is_named(client: TestClient, images: str, verdict: Any, item: str) -> None:
    put(client)
    refused = say(client, verdict)
    assert (refused.status_code, refused.json()["item"]) == (422, item), refused.json()
    assert client.get(KIND).json()["n_reviewed"] == 0


def test_of_two_reviewers_at_once_the_later_word_stands_and_both_are_told(tmp_path: Path) -> None:
    root, n_rounds, meet = {"X-API-Key": "correct horse"}, 10, threading.Barrier(2, timeout=30)
    said = {name: [f"{name} {n}" for n in range(n_rounds)] for name in ("ann", "bob")}
    with running_app(tmp_path, api_key="correct horse") as client:
        client.headers.update(root)
        assert client.post("/collections", json={"name": "pets"}).status_code == 201
        items = [{"id": "red"}]
        assert add_images(client, "/collections/pets/images", picture("red"), items=items).status_code == 200
        assert put(client, [*said["ann"], *said["bob"]]).status_code == 200

        def review(name: str) -> list[Any]:
            made = client.post("/keys", json={"name": name, "scopes": ["write"], "collections": None})
            headers, given = {"X-API-Key": made.json()["key"]}, []
            for label in said[name]:
                meet.wait()
                body = {"verdicts": [{"id": "red", "label": label}]}
                given += client.post(f"{KIND}/verdicts", json=body, headers=headers).json()["verdicts"]
            return given

        with ThreadPoolExecutor(2) as threads:
            given = [one for of_one in threads.map(review, said) for one in of_one]
        (image,) = client.get(f"{KIND}/images").json()["images"]
    before = {one["labels"][0]: one["before"] for one in given}
    history, verdict = list[str](), image["verdict"]
    while verdict is not None:  # from what stands back to the first word
        (label,) = verdict["labels"]
        assert verdict["by"] == label.split()[0]
        history.append(label)
        verdict = before[label]
    assert sorted(history) == sorted([*said["ann"], *said["bob"]])


def test_set_that_is_gone_is_not_found(client: TestClient, images: str) -> None:
    put(client)
    assert client.delete(KIND).status_code == 204
    for answer in (
        client.get(KIND),
        client.get(f"{KIND}/images"),
        client.get(f"{KIND}/proposals"),
        client.get(f"{KIND}/export"),
        client.delete(KIND),
    ):
        assert (answer.status_code, answer.json()["detail"]) == (404, "no label set named 'kind'")
    assert client.put(f"{SETS}/Bad", json={"labels": ["a"]}).status_code == 422


def test_export_has_each_label_of_each_image(client: TestClient, images: str) -> None:
    put(client, kind="many", min_score=0)
    say(client, {"id": "blue", "labels": [], "drawn": True})
    lines = client.get(f"{KIND}/export")
    assert lines.headers["content-type"] == "application/jsonl"
    rows = [json.loads(line) for line in lines.text.splitlines()]
    assert [row["id"] for row in rows] == sorted(COLOURS)
    assert (rows[0]["labels"], rows[0]["by"], len(rows[0]["proposed"])) == ([], "person", 3)
    assert [row["drawn"] for row in rows] == [True, False, False, False]
    assert (rows[1]["model"], rows[1]["version"]) == ("tiny", 1)
    stored = client.get("/collections/pets/images/green").json()
    assert (rows[1]["id"], rows[1]["sha256"]) == ("green", stored["sha256"])
    table = client.get(f"{KIND}/export", params={"format": "csv"}).text.splitlines()
    assert table[0] == "id,label,score,margin,by,drawn,model,version,sha256"
    assert [line.split(",")[:2] for line in table[1:]] == [
        [row["id"], label] for row in rows for label in row["labels"] or [""]
    ]
    assert [line.split(",")[5] for line in table[1:3]] == ["true", "false"]
    body = {"images": [{"id": "green", "collection": "pets"}], "labels": ["red", "green", "blue"]}
    (classified,) = client.post("/classify", json={**body, "multi_label": True}).json()["data"]
    of_green = [line.split(",") for line in table if line.startswith("green,")]
    assert {label: float(score) for _, label, score, *_ in of_green} == pytest.approx(
        {one["label"]: one["score"] for one in classified["predictions"]}, abs=1e-5
    )
    assert len(client.get(f"{KIND}/export", params={"label": ""}).text.splitlines()) == 1


def test_filters_know_labels(client: TestClient, images: str) -> None:
    put(client)
    say(client, {"id": "red", "label": None}, {"id": "green", "label": "blue"})
    assert ids(client, label_in("blue")) == sorted(
        id for id, labels in labelled(client).items() if labels == ["blue"]
    )
    assert ids(client, label_in(None)) == ["red"]
    assert ids(client, label_in("green", None)) == sorted(
        id for id, labels in labelled(client).items() if labels in ([], ["green"])
    )
    assert ids(client, {"not": label_in("red", "green", "blue")}) == ["red"]
    assert ids(client, {"and": [label_in("blue"), {"n": {"lt": 2}}]}) == ["green"]
    assert ids(client, {"or": [label_in(None), {"n": 2}], "n": {"gte": 0}}) == ["blue", "red"]
    say(client, {"id": "red", "label": "red"})
    assert ids(client, label_in(None)) == []


def test_labels_filter_searches_facets_and_deletions(client: TestClient, images: str) -> None:
    put(client)
    say(client, {"id": "red", "label": "blue"})
    blue = {id for id, labels in labelled(client).items() if labels == ["blue"]}
    body = {"query": {"text": "blue"}, "collection": "pets", "filter": label_in("blue"), "k": 10}
    found = client.post("/search", json=body).json()
    assert {hit["id"] for hit in found["hits"]} == blue
    params = {"filter": json.dumps(label_in("blue"))}
    assert client.get("/collections/pets/fields", params=params).json()["n_images"] == len(blue)
    preview = {"filter": label_in("blue"), "preview": True}
    deletion = client.post("/collections/pets/deletions", json=preview).json()
    assert set(deletion["ids"]) == blue


def test_metadata_may_still_have_a_key_named_label(client: TestClient, images: str) -> None:
    client.patch(f"{images}/red", json={"metadata": {"label": "cat"}})
    assert ids(client, {"label": "cat"}) == ["red"]
    assert ids(client, {"label": {"in": ["cat"]}}) == ["red"]
    client.patch(f"{images}/red", json={"metadata": {"label": None}})


@pytest.mark.parametrize(
    ("clause", "item"),
    [
        ({"set": "no", "in": ["red"]}, "filter.label.set"),
        ({"set": "kind", "in": ["pink"]}, "filter.label.in"),
        ({"set": "kind", "in": [3]}, "filter.label.in"),
        ({"set": "kind", "in": "red"}, "filter.label.in"),
        ({"set": 3, "in": ["red"]}, "filter.label.set"),
        ({"set": "kind"}, "filter.label"),
        ({"set": "kind", "in": ["red"], "eq": 1}, "filter.label"),
    ],
)
def test_wrong_filter_on_labels_is_named(client: TestClient, images: str, clause: Any, item: str) -> None:
    put(client)
    refused = client.get("/collections/pets/images", params={"filter": json.dumps({"label": clause})})
    assert (refused.status_code, refused.json()["item"]) == (422, item), refused.json()


def test_verdicts_name_the_key_and_outlive_a_server_that_only_reads_then(tmp_path: Path) -> None:
    with running_app(tmp_path, api_key="correct horse") as client:
        client.headers["X-API-Key"] = "correct horse"
        client.post("/collections", json={"name": "pets"})
        add_images(client, "/collections/pets/images", picture("red"), items=[{"id": "red"}])
        put(client)
        keys = {
            scope: client.post("/keys", json={"name": f"key to {scope}", "scopes": [scope]}).json()["key"]
            for scope in ("read", "write")
        }
        client.headers["X-API-Key"] = keys["read"]
        assert say(client, {"id": "red", "label": "blue"}).status_code == 403
        assert put(client, ["red"]).status_code == 403
        assert labelled(client)["red"] == ["red"]
        client.headers["X-API-Key"] = keys["write"]
        assert say(client, {"id": "red", "label": "blue"}).status_code == 200
    with running_app(tmp_path, read_only=True, api_key="correct horse") as client:
        client.headers["X-API-Key"] = "correct horse"
        (image,) = client.get(f"{KIND}/images").json()["images"]
        assert (image["labels"], image["verdict"]["by"]) == (["blue"], "key to write")
        assert say(client, {"id": "red", "label": "red"}).status_code == 403
