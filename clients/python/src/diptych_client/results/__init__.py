"""The values that calls return. They are frozen, and their fields have the names of the API.

One module for each group of calls; import all values from here. Read `encoding` and `searching` first.
"""

from diptych_client.results.collections import CollectionInfo, CollectionRollout, Keep
from diptych_client.results.common import Json, ModelRef, VersionRef
from diptych_client.results.encoding import (
    Classification,
    ClassifiedImage,
    EmbeddedItem,
    Embedding,
    Embeddings,
    InputWarning,
    Prediction,
)
from diptych_client.results.images import (
    AddOutcome,
    AddStatus,
    Deletion,
    DuplicateGroup,
    DuplicatePage,
    ImagePage,
    ImageRecord,
)
from diptych_client.results.jobs import Job, JobOutcome, JobPage
from diptych_client.results.metadata import Facet, FacetValue, MetadataField, MetadataFields
from diptych_client.results.models import (
    BrokenFolder,
    Calibration,
    IgnoredVersion,
    ModelSummary,
    ModelVersion,
    PushedVersion,
    Reliability,
)
from diptych_client.results.rollouts import (
    ChangedQuery,
    CollectionComparison,
    ComparedVectors,
    Comparison,
    PreviousVersion,
    Rollout,
    RolloutProgress,
    RolloutStatus,
)
from diptych_client.results.searching import Duplicate, Hit, SearchResult
from diptych_client.results.server import ApiKey, Caller, CreatedKey, KeyScope, Readiness, ServerVersion
from diptych_client.results.serving import (
    GoldenParity,
    Plan,
    PrecisionCandidate,
    RunningPrecision,
    Serving,
    ServingDevice,
    TensorRt,
)

__all__ = [
    "AddOutcome",
    "AddStatus",
    "ApiKey",
    "BrokenFolder",
    "Calibration",
    "Caller",
    "ChangedQuery",
    "Classification",
    "ClassifiedImage",
    "CollectionComparison",
    "CollectionInfo",
    "CollectionRollout",
    "ComparedVectors",
    "Comparison",
    "CreatedKey",
    "Deletion",
    "Duplicate",
    "DuplicateGroup",
    "DuplicatePage",
    "EmbeddedItem",
    "Embedding",
    "Embeddings",
    "Facet",
    "FacetValue",
    "GoldenParity",
    "Hit",
    "IgnoredVersion",
    "ImagePage",
    "ImageRecord",
    "InputWarning",
    "Job",
    "JobOutcome",
    "JobPage",
    "Json",
    "Keep",
    "KeyScope",
    "MetadataField",
    "MetadataFields",
    "ModelRef",
    "ModelSummary",
    "ModelVersion",
    "Plan",
    "PrecisionCandidate",
    "Prediction",
    "PreviousVersion",
    "PushedVersion",
    "Readiness",
    "Reliability",
    "Rollout",
    "RolloutProgress",
    "RolloutStatus",
    "RunningPrecision",
    "SearchResult",
    "ServerVersion",
    "Serving",
    "ServingDevice",
    "TensorRt",
    "VersionRef",
]
