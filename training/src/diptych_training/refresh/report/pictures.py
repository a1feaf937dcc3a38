"""Pictures of packed data sets as small WebP files inside a page."""

from functools import cache

from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.refresh.judge.view import OWN, Picture
from diptych_training.reports.pictures import picture_uri


class Thumbnails:
    """Makes data URIs of the pictures of two data sets."""

    def __init__(self, own: PackedDataset, shipped: PackedDataset) -> None:
        self._own, self._shipped = own, shipped
        self._source = cache(self._open)
        self.uri = cache(self._uri)

    def _uri(self, picture: Picture) -> str:
        """``data:image/webp;base64,...`` of a picture. DataError if its data set is incomplete."""
        dataset = self._own if picture.set == OWN else self._shipped
        pixels = self._source(dataset is self._own, picture.source).images[picture.index]
        return picture_uri(pixels)

    def _open(self, is_own: bool, name: str) -> PackedSource:
        return (self._own if is_own else self._shipped).source(name)
