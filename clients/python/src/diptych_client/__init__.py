"""Python client of the diptych server.

`Client` and `AsyncClient` have one method for each call of the API. Calls return the frozen values of
`results` and raise the exceptions of `errors`. Read `operations` first: it has every call, written once for
both clients.
"""

from diptych_client.async_client import AsyncClient
from diptych_client.client import Client
from diptych_client.errors import (
    ApiError,
    BadRequest,
    ClientError,
    Conflict,
    ConnectionLost,
    FileTooLarge,
    Forbidden,
    InvalidCall,
    InvalidValue,
    NotFound,
    NotReady,
    Overloaded,
    Problem,
    ServerError,
    TimedOut,
    TooLarge,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
    UnreadableFile,
    UnsupportedImage,
    VersionChanged,
)
from diptych_client.images import ImageInput, ImageSource, ImageUrl
from diptych_client.operations.searching import Query
from diptych_client.operations.vectors import Vector
from diptych_client.results.collections import CollectionInfo, CollectionRollout, Keep
from diptych_client.results.common import ModelRef, VersionRef
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

__version__ = "0.2.0"

__all__ = [
    "AddOutcome",
    "AddStatus",
    "ApiError",
    "ApiKey",
    "AsyncClient",
    "BadRequest",
    "BrokenFolder",
    "Calibration",
    "Caller",
    "ChangedQuery",
    "Classification",
    "ClassifiedImage",
    "Client",
    "ClientError",
    "CollectionComparison",
    "CollectionInfo",
    "CollectionRollout",
    "ComparedVectors",
    "Comparison",
    "Conflict",
    "ConnectionLost",
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
    "FileTooLarge",
    "Forbidden",
    "GoldenParity",
    "Hit",
    "IgnoredVersion",
    "ImageInput",
    "ImagePage",
    "ImageRecord",
    "ImageSource",
    "ImageUrl",
    "InputWarning",
    "InvalidCall",
    "InvalidValue",
    "Job",
    "JobOutcome",
    "JobPage",
    "Keep",
    "KeyScope",
    "MetadataField",
    "MetadataFields",
    "ModelRef",
    "ModelSummary",
    "ModelVersion",
    "NotFound",
    "NotReady",
    "Overloaded",
    "Plan",
    "PrecisionCandidate",
    "Prediction",
    "PreviousVersion",
    "Problem",
    "PushedVersion",
    "Query",
    "Readiness",
    "Reliability",
    "Rollout",
    "RolloutProgress",
    "RolloutStatus",
    "RunningPrecision",
    "SearchResult",
    "ServerError",
    "ServerVersion",
    "Serving",
    "ServingDevice",
    "TensorRt",
    "TimedOut",
    "TooLarge",
    "Unauthorized",
    "UnexpectedAnswer",
    "Unreachable",
    "UnreadableFile",
    "UnsupportedImage",
    "Vector",
    "VersionChanged",
    "VersionRef",
]
