"""Drawn pictures of eight kinds in a collection, and a person who says what each of them shows."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from diptych_client import Client, LabelledImage
from diptych_training.refresh.example import SYMBOLS, draw_example

AT_ONCE = 20  # proposals in one request


@dataclass
class Pressed:
    """The keys of a review, one a picture: space where the proposal is right, else the number of a label."""

    n_space: int = 0
    n_number: int = 0
    ids: list[str] = field(default_factory=list)

    def count(self, id: str, is_right: bool) -> None:
        """Count the key for this picture, whose proposal is right or not."""
        self.ids.append(id)
        self.n_space += is_right
        self.n_number += not is_right


def kind_of(id: str) -> str:
    """What a picture shows: `gate-valve-001` shows a gate valve."""
    return id.rpartition("-")[0].replace("-", " ")


def add_drawn(
    client: Client, collection: str, folder: Path, n: int, n_kinds: int = len(SYMBOLS)
) -> list[str]:
    """Add `n` drawn pictures to a new collection; returns their kinds."""
    draw_example(folder, n, n_kinds=n_kinds)
    pictures = sorted(folder.glob("*.png"))
    client.create_collection(collection)
    client.add(pictures, ids=[picture.stem for picture in pictures], collection=collection)
    return list(SYMBOLS)[:n_kinds]


def review(client: Client, collection: str, label_set: str, n: int) -> Pressed:
    """Review `n` pictures as they are proposed."""
    pressed = Pressed()
    while len(pressed.ids) < n:
        limit = min(AT_ONCE, n - len(pressed.ids))
        for image in client.label_proposals(collection, label_set, limit=limit).images:
            kind = kind_of(image.id)
            pressed.count(image.id, not image.none and image.proposed == (kind,))
            drawn = [image.id] if image.drawn else []
            client.give_verdicts(
                collection, label_set, {image.id: kind}, drawn=drawn, sha256s={image.id: image.sha256}
            )
    return pressed


def review_at_random(client: Client, collection: str, label_set: str, n: int, seed: int) -> Pressed:
    """Review `n` pictures drawn from all."""
    proposed = {image.id: image.proposed for image in labelled(client, collection, label_set)}
    pressed = Pressed()
    for id in Random(seed).sample(sorted(proposed), n):
        kind = kind_of(id)
        pressed.count(id, proposed[id] == (kind,))
        client.give_verdicts(collection, label_set, {id: kind}, drawn=[id])
    return pressed


def labelled(client: Client, collection: str, label_set: str) -> list[LabelledImage]:
    """All images with their labels, of which there are at most a thousand."""
    page = client.labelled_images(collection, label_set, limit=1_000)
    assert page.next is None
    return list(page.images)
