"""Any source of image-text pairs as a data set: labels are classified, captions are searched."""

from diptych_training.benchmark.data_sets.data_set import DataSet, Split
from diptych_training.benchmark.data_sets.known import Known
from diptych_training.benchmark.data_sets.pictures import PairPictures
from diptych_training.data.pairs.pair import Pair
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.errors import DataError


def pairs_data_set(path: str, name: str, facts: Known | None) -> DataSet:
    """Read all texts. If each picture has a label, the labels are classes; else its captions are searched.

    DataError naming an entry that cannot be used.
    """
    shards = tuple(SourceReader().shards([path]))
    texts_of = []
    for shard in shards:
        for entry in shard.entries(with_images=False):
            if not isinstance(entry, Pair):
                raise DataError(f"{entry.name}: {entry.reason}")
            texts_of.append(entry.texts)
    labels = [texts.label for texts in texts_of if texts.label is not None]
    is_labelled = len(labels) == len(texts_of)
    own = [[texts.label] if is_labelled else list(texts.all()) for texts in texts_of]
    texts = sorted({text for some in own for text in some if text is not None})
    column = {text: index for index, text in enumerate(texts)}
    right = tuple(tuple(column[text] for text in some if text is not None) for some in own)
    return DataSet(
        name=name,
        group="folder" if facts is None else "paper",
        task="classification" if is_labelled else "retrieval",
        metric=facts.metric if facts is not None and is_labelled else "top1",
        texts=tuple(texts),
        templates=facts.templates if facts is not None and is_labelled else (),
        test=Split(PairPictures(shards, len(texts_of)), right),
        retrieves=True,
        source=path,
    )
