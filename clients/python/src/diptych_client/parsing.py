"""Parse the JSON of the server into results.

Unknown keys are ignored, so that this client works with a newer server.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diptych_client.errors import Problem, UnexpectedAnswer, api_error
from diptych_client.results import (
    AddOutcome,
    ApiKey,
    BrokenFolder,
    Calibration,
    Caller,
    ChangedQuery,
    Classification,
    ClassifiedImage,
    CollectionComparison,
    CollectionInfo,
    CollectionRollout,
    ComparedVectors,
    Comparison,
    Duplicate,
    DuplicateGroup,
    DuplicatePage,
    EmbeddedItem,
    Embedding,
    Facet,
    FacetValue,
    Hit,
    IgnoredVersion,
    ImagePage,
    ImageRecord,
    InputWarning,
    Job,
    JobOutcome,
    JobPage,
    Json,
    MetadataField,
    MetadataFields,
    ModelRef,
    ModelSummary,
    ModelVersion,
    Plan,
    PrecisionCandidate,
    Prediction,
    PreviousVersion,
    PushedVersion,
    Reliability,
    Rollout,
    RolloutProgress,
    RolloutStatus,
    RunningPrecision,
    SearchResult,
    ServerVersion,
    Serving,
    ServingDevice,
    TensorRt,
    VersionRef,
)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise UnexpectedAnswer for a missing key or a value of the wrong kind. `what` names the answer."""
    try:
        yield
    except KeyError as error:
        raise UnexpectedAnswer(f"the answer to {what} has no {error}") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise UnexpectedAnswer(f"the answer to {what} has another shape than expected: {error}") from error


def embedding(text: str) -> Embedding:
    """Decode base64 of little-endian float32 numbers into `array('f')` of embed_dim numbers."""
    values: Embedding = array("f")
    values.frombytes(b64decode(text, validate=True))
    if sys.byteorder == "big":
        values.byteswap()
    return values


def model_ref(model: Json) -> ModelRef:
    """Parse the `model` of an answer."""
    return ModelRef(str(model["name"]), int(model["version"]), str(model["precision"]), str(model["decode"]))


def embedded_item(row: Json) -> EmbeddedItem:
    """Parse one entry of `data` of `/embed`."""
    return EmbeddedItem(embedding(row["embedding"]), bool(row.get("truncated", False)))


def classification(body: Json) -> Classification:
    """Parse the answer of `/classify`. Older servers warn of nothing."""
    return Classification(
        model=model_ref(body["model"]),
        data=tuple(classified_image(row) for row in body["data"]),
        warnings=tuple(
            InputWarning(str(one["item"]), str(one["detail"])) for one in body.get("warnings", ())
        ),
    )


def classified_image(row: Json) -> ClassifiedImage:
    """Parse one entry of `data` of `/classify`. Keeps the order of the server."""
    return ClassifiedImage(
        tuple(
            Prediction(
                str(p["label"]), float(p["score"]), float(p["cosine"]), bool(p.get("truncated", False))
            )
            for p in row["predictions"]
        )
    )


def search_result(body: Json) -> SearchResult:
    """Parse the answer of `/search`. Only newer servers name the collection of each hit."""
    collection = body["collection"]
    return SearchResult(
        model=model_ref(body["model"]),
        collection=None if collection is None else str(collection),
        hits=tuple(hit({"collection": collection} | row) for row in body["hits"]),
        truncated=bool(body.get("truncated", False)),
        facets=tuple(facet(row) for row in body.get("facets", ())),
        collections=tuple(map(str, body.get("collections", [collection]))),
    )


def facet(row: Json) -> Facet:
    """Parse one entry of `facets` of `/search`."""
    return Facet(str(row["field"]), int(row["n_hits"]), value_counts(row))


def value_counts(row: Json) -> tuple[FacetValue, ...]:
    """Parse the `values` of a field."""
    return tuple(FacetValue(one["value"], int(one["count"])) for one in row["values"])


def metadata_fields(body: Json) -> MetadataFields:
    """Parse the fields of a collection."""
    fields = tuple(
        MetadataField(
            name=str(row["name"]),
            n_images=int(row["n_images"]),
            kinds=tuple(map(str, row["kinds"])),
            n_distinct=int(row["n_distinct"]),
            values=value_counts(row),
            min=row.get("min"),
            max=row.get("max"),
        )
        for row in body["fields"]
    )
    return MetadataFields(int(body["n_images"]), int(body["n_read"]), int(body["n_fields"]), fields)


def hit(row: Json) -> Hit:
    """Parse one entry of `hits` of `/search`."""
    relevance = row.get("relevance")
    return Hit(
        id=str(row["id"]),
        cosine=float(row["cosine"]),
        relevance=None if relevance is None else float(relevance),
        metadata=dict(row.get("metadata") or {}),
        links=dict(row.get("links") or {}),
        duplicates=tuple(
            Duplicate(str(one["id"]), str(one["kind"]), str(one.get("collection", row["collection"])))
            for one in row.get("duplicates", ())
        ),
        collection=str(row["collection"]),
    )


def add_outcome(row: Json, index: int) -> AddOutcome:
    """Parse one outcome of an add. `index` counts over the whole call, not over one request."""
    problem = row.get("error")
    error = api_error(Problem.from_json(problem, int(problem["status"]))) if problem else None
    return AddOutcome(index, row.get("id"), row["status"], error, bool(row.get("metadata_differs", False)))


def job(row: Json) -> Job:
    """Parse a job."""
    finished_at = row["finished_at"]
    return Job(
        id=str(row["id"]),
        collection=str(row["collection"]),
        replace=bool(row["replace"]),
        state=str(row["state"]),
        n_items=int(row["n_items"]),
        n_done=int(row["n_done"]),
        counts={str(status): int(n) for status, n in row["counts"].items()},
        created_at=str(row["created_at"]),
        finished_at=None if finished_at is None else str(finished_at),
        reason=str(row["reason"]),
    )


def job_page(body: Json) -> JobPage:
    """Parse one page of outcomes of a job."""
    outcomes = tuple(
        JobOutcome(**vars(add_outcome(row, int(row["index"]))), file=row.get("file"))
        for row in body["outcomes"]
    )
    return JobPage(job(body["job"]), outcomes, body.get("next"))


def image_record(row: Json) -> ImageRecord:
    """Parse an image of a collection."""
    return ImageRecord(
        id=str(row["id"]),
        collection=str(row["collection"]),
        sha256=str(row["sha256"]),
        n_bytes=int(row["n_bytes"]),
        media_type=str(row["media_type"]),
        width=int(row["width"]),
        height=int(row["height"]),
        metadata=dict(row.get("metadata") or {}),
        created_at=str(row["created_at"]),
        kept=bool(row.get("kept", True)),
    )


def image_page(body: Json) -> ImagePage:
    """Parse one page of a listing."""
    return ImagePage(tuple(image_record(row) for row in body["images"]), body.get("next"), body.get("total"))


def duplicate_page(body: Json) -> DuplicatePage:
    """Parse one page of duplicates."""
    groups = tuple(
        DuplicateGroup(int(row["n_images"]), tuple(image_record(one) for one in row["images"]))
        for row in body["groups"]
    )
    return DuplicatePage(
        groups, body["next"], int(body["n_groups"]), int(body["n_duplicates"]), int(body["n_unknown"])
    )


def collection_info(row: Json) -> CollectionInfo:
    """Parse a collection."""
    index: Json = row.get("index") or {}
    return CollectionInfo(
        name=str(row["name"]),
        model=str(row["model"]),
        n_images=int(row["n_images"]),
        created_at=str(row["created_at"]),
        state=str(row.get("state", "ready")),
        n_embedded=int(row.get("n_embedded", 0)),
        reason=str(row.get("reason", "")),
        keep=str(row.get("keep", "original")),
        n_kept=int(row.get("n_kept", 0)),
        kept_bytes=int(row.get("kept_bytes", 0)),
        vectors=model_ref(row["vectors"]) if row.get("vectors") else None,
        recall=row.get("recall"),
        index_device=index.get("device"),
        index_reason=str(index.get("reason", "")),
        memory_bytes=int(row.get("memory_bytes", 0)),
        load_s=row.get("load_s"),
        version=row.get("version"),
        stays=str(row.get("stays", "")),
        rollout=collection_rollout(row["rollout"]) if row.get("rollout") else None,
    )


def collection_rollout(row: Json) -> CollectionRollout:
    """Parse the `rollout` of a collection."""
    return CollectionRollout(
        id=str(row["id"]),
        model=str(row["model"]),
        version=int(row["version"]),
        precision=str(row["precision"]),
        state=str(row["state"]),
        n_images=int(row["n_images"]),
        n_embedded=int(row["n_embedded"]),
    )


def model_summary(row: Json) -> ModelSummary:
    """Parse one entry of `/models`."""
    active: Any = row.get("active")
    return ModelSummary(
        name=str(row["name"]),
        versions=tuple(int(version) for version in row["versions"]),
        active=None if active is None else int(active),
        serving=serving(row),
        ignored=tuple(
            IgnoredVersion(int(one["version"]), str(one["reason"])) for one in row.get("ignored", ())
        ),
        broken=broken_folders(row),
        loaded=tuple(int(version) for version in row.get("loaded", ())),
        bundle=str(row.get("bundle") or ""),
        replaced=bool(row.get("replaced", False)),
        calibration=calibration(row),
    )


def calibration(row: Json) -> Calibration | None:
    """Parse the calibration of a model or version; None if there is none."""
    found: Any = row.get("calibration")
    if found is None:
        return None
    return Calibration(
        int(found["n_background"]), reliability(found.get("text")), reliability(found.get("image"))
    )


def reliability(body: Json | None) -> Reliability | None:
    """Parse the reliability of one kind of query; None without relevance."""
    if body is None:
        return None
    error: Any = body.get("error")
    return Reliability(
        error=None if error is None else float(error),
        n_queries=int(body["n_queries"]),
        ignored=body.get("ignored"),
    )


def broken_folders(row: Json) -> tuple[BrokenFolder, ...]:
    """Parse what is no version, or no model."""
    return tuple(BrokenFolder(str(one["folder"]), str(one["reason"])) for one in row.get("broken", ()))


def serving(row: Json) -> Serving | None:
    """Parse how a model or version is served; None for the others."""
    found: Any = row.get("serving")
    if found is None:
        return None
    device, running, plan = found.get("device"), found.get("running"), found.get("plan")
    return Serving(
        precision=str(found["precision"]),
        reason=str(found["reason"]),
        candidates=tuple(map(precision_candidate, found.get("candidates", ()))),
        plan=Plan(**plan) if plan else None,
        device=ServingDevice(str(device["provider"]), device["name"], str(device["reason"]))
        if device
        else None,
        running=running_precision(running) if running else None,
    )


def running_precision(body: Json) -> RunningPrecision:
    """Parse the runtime of one precision."""
    tensorrt = body.get("tensorrt")
    return RunningPrecision(
        precision=str(body["precision"]),
        provider=str(body["provider"]),
        tensorrt=TensorRt(str(tensorrt["state"]), str(tensorrt["reason"])) if tensorrt else None,
    )


def precision_candidate(row: Json) -> PrecisionCandidate:
    """Parse a precision that was tried."""
    return PrecisionCandidate(
        precision=str(row["precision"]),
        passed=bool(row["passed"]),
        image_ms=row.get("image_ms"),
        text_ms=row.get("text_ms"),
        error=row.get("error"),
    )


def model_version(body: Json) -> ModelVersion:
    """Parse a version of a model."""
    return ModelVersion(
        name=str(body["name"]),
        version=int(body["version"]),
        active=bool(body["active"]),
        manifest=body.get("manifest"),
        error=body.get("error"),
        prompt_sets=tuple(map(str, body.get("prompt_sets", ()))),
        serving=serving(body),
        ignored=body.get("ignored"),
        calibration=calibration(body),
    )


def pushed_version(body: Json) -> PushedVersion:
    """Parse the answer to a push."""
    return PushedVersion(
        name=str(body["name"]),
        version=int(body["version"]),
        created=bool(body["created"]),
        active=bool(body["active"]),
        n_files=int(body["n_files"]),
        n_bytes=int(body["n_bytes"]),
    )


def rollout(row: Json) -> Rollout:
    """Parse a rollout."""
    progress, compared = row.get("progress"), row.get("comparison")
    return Rollout(
        id=str(row["id"]),
        target=version_ref(row["target"]),
        state=str(row["state"]),
        created_at=str(row["created_at"]),
        progress=rollout_progress(progress) if progress else None,
        stays={str(name): str(reason) for name, reason in row.get("stays", {}).items()},
        reason=str(row.get("reason", "")),
        comparison=comparison(compared) if compared else None,
        finished_at=row.get("finished_at"),
    )


def version_ref(row: Json) -> VersionRef:
    """Parse a version."""
    return VersionRef(
        str(row["name"]),
        int(row["version"]),
        bundle=str(row.get("bundle", "")),
        precision=str(row.get("precision", "")),
    )


def rollout_progress(row: Json) -> RolloutProgress:
    """Parse the progress of a rollout."""
    return RolloutProgress(
        int(row["n_images"]), int(row["n_embedded"]), row.get("images_per_s"), row.get("eta_s")
    )


def comparison(body: Json) -> Comparison:
    """Parse a comparison of versions."""
    return Comparison(
        collections=tuple(collection_comparison(row) for row in body["collections"]),
        unmet=tuple(str(reason) for reason in body.get("unmet", [])),
    )


def collection_comparison(row: Json) -> CollectionComparison:
    """Parse the comparison of one collection."""
    old = row.get("old")
    return CollectionComparison(
        collection=str(row["collection"]),
        n_images=int(row["n_images"]),
        coverage=float(row["coverage"]),
        new=compared_vectors(row["new"]),
        old=compared_vectors(old) if old else None,
        n_queries=int(row.get("n_queries", 0)),
        overlap_at_10=row.get("overlap_at_10"),
        changed=tuple(changed_query(one) for one in row.get("changed", [])),
    )


def compared_vectors(row: Json) -> ComparedVectors:
    """Parse one side of a comparison."""
    return ComparedVectors(
        str(row["model"]), int(row["version"]), str(row["precision"]), float(row["golden_cosine_min"])
    )


def changed_query(row: Json) -> ChangedQuery:
    """Parse a query with both rows of hits."""
    return ChangedQuery(
        overlap=float(row["overlap"]),
        old=tuple(str(id) for id in row["old"]),
        new=tuple(str(id) for id in row["new"]),
        text=row.get("text"),
        id=row.get("id"),
    )


def rollout_status(body: Json) -> RolloutStatus:
    """Parse what `/models` says about rollouts."""
    active = [one for one in (model_summary(row) for row in body["models"]) if one.active is not None]
    previous = body.get("previous")
    return RolloutStatus(
        active=VersionRef(active[0].name, active[0].active or 0, bundle=active[0].bundle) if active else None,
        policy=body.get("policy"),
        previous=previous_version(previous) if previous else None,
        rollout=rollout(body["rollout"]) if body.get("rollout") else None,
        broken=broken_folders(body),
    )


def previous_version(row: Json) -> PreviousVersion:
    """Parse the version that served before."""
    return PreviousVersion(
        name=str(row["name"]),
        version=int(row["version"]),
        bundle=str(row.get("bundle", "")),
        precision=str(row.get("precision", "")),
        n_lagging=int(row["n_lagging"]),
        memory_bytes=int(row["memory_bytes"]),
        vector_bytes=int(row["vector_bytes"]),
        weight_bytes=int(row.get("weight_bytes", 0)),
        bundle_bytes=int(row.get("bundle_bytes", 0)),
    )


def server_version(body: Json) -> ServerVersion:
    """Parse the answer of `/version`."""
    model, who = body.get("model"), body.get("caller")
    return ServerVersion(
        version=str(body["version"]),
        model=model_ref(model) if model else None,
        provider=body.get("provider"),
        embed_dim=body.get("embed_dim"),
        default_collection=str(body["default_collection"]),
        read_only=bool(body.get("read_only", False)),
        max_image_bytes=body.get("max_image_bytes"),
        caller=caller(who) if who else None,
    )


def caller(row: Json) -> Caller:
    """Parse the `caller` of `/version`."""
    collections = row["collections"]
    return Caller(
        key=row["key"],
        scopes=tuple(row["scopes"]),
        collections=None if collections is None else tuple(map(str, collections)),
    )


def api_key(row: Json) -> ApiKey:
    """Parse one entry of `/keys`."""
    collections = row.get("collections")
    return ApiKey(
        prefix=str(row["prefix"]),
        name=str(row["name"]),
        scopes=tuple(row["scopes"]),
        collections=None if collections is None else tuple(map(str, collections)),
        created_at=str(row["created_at"]),
        expires_at=row.get("expires_at"),
        last_used_at=row.get("last_used_at"),
    )
