"""The version that answers requests which name no collection."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.encoding.embedder import Embedder
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.versions import LoadedVersion, LoadedVersions
from diptych.core.types import ModelInfo


@dataclass(frozen=True, eq=False)
class ActiveVersion:
    """One version with its label cache. A request takes it once and uses nothing else."""

    version: LoadedVersion
    classifier: LabelClassifier

    @property
    def model(self) -> ModelInfo:
        """The description of the model."""
        return self.version.model

    @property
    def pipeline(self) -> EncoderPipeline:
        """What embeds."""
        return self.version.pipeline

    @property
    def embedder(self) -> Embedder:
        """Embeds the items of requests."""
        return self.pipeline.embedder


class ActiveModel:
    """Holds the active version, and keeps a version loaded while requests that began with it run."""

    def __init__(
        self,
        versions: LoadedVersions,
        new_classifier: Callable[[EncoderPipeline], LabelClassifier],
        version: LoadedVersion,
        on_switch: Callable[[ModelInfo], None] = lambda model: None,
    ) -> None:
        """`version` is active first; this object is one of its users.

        `on_switch` is called with the model that is active, now and after each switch.
        """
        self._versions = versions
        self._new_classifier = new_classifier
        self._now = ActiveVersion(version, new_classifier(version.pipeline))
        self._on_switch = on_switch
        on_switch(version.model)

    @property
    def now(self) -> ActiveVersion:
        """The active version, for what does not encode."""
        return self._now

    @contextmanager
    def using(self) -> Iterator[ActiveVersion]:
        """The active version, kept loaded inside the block even if another one becomes active."""
        now = self._now
        with self._versions.hold(now.version):
            yield now

    def switch(self, version: LoadedVersion) -> LoadedVersion:
        """Make `version`, of which this object is a user, active, and return the former version.

        The caller releases the former version.
        """
        former = self._now.version
        self._now = ActiveVersion(version, self._new_classifier(version.pipeline))
        self._on_switch(version.model)
        return former
