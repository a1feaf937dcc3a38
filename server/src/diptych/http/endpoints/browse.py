"""`/fields`, `/months`, `/folders`, `/duplicates` of a collection: what metadata holds, and what is alike."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response

from diptych.core.collections.metadata import facets
from diptych.core.collections.metadata.facets import (
    MAX_FIELDS,
    MAX_READ,
    MAX_VALUE_CHARS,
    MAX_VALUES,
    FieldKind,
)
from diptych.core.collections.metadata.filter_parser import parse_path
from diptych.core.collections.stored.duplicates import MAX_GROUP_IMAGES, DuplicatePage
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.endpoints.images import IMAGE_EXAMPLE, ImageResponse
from diptych.http.errors.documented_errors import COMMON_ERRORS, documented_errors
from diptych.http.parsing import schemas
from diptych.http.parsing.json import filter_of_query
from diptych.http.parsing.request_models import RequestModel
from diptych.http.respond import json_response
from diptych.http.state import ReadyServices

MAX_FOLDERS = 1_000  # of one level


class _FieldsParameters(RequestModel):
    """The query string of the fields of a collection."""

    filter: Annotated[str | None, WithJsonSchema(schemas.FILTER_TEXT)] = Field(
        None, description="describe only images whose metadata passes this filter, as JSON"
    )
    limit: int = Field(20, ge=0, le=MAX_VALUES, description="values of each field, at most")
    nested: bool = Field(False, description="describe fields inside of objects, too, by paths such as a.b")


FieldsQuery = Annotated[_FieldsParameters, Query()]


class FieldValueResponse(BaseModel):
    """A value of a metadata field, and how many images have it."""

    value: str | int | float | bool | None = Field(examples=[2001])
    count: int


class FieldResponse(BaseModel):
    """One key of the metadata on its top level, or with `nested` a path. Of a list each element counts, once
    an image.
    """

    name: str = Field(examples=["year"])
    n_images: int = Field(description="images that have the field")
    kinds: list[FieldKind] = Field(examples=[["number"]])
    n_distinct: int = Field(
        description="different values; texts of which the first "
        f"{MAX_VALUE_CHARS + 1} characters are the same count as one"
    )
    values: list[FieldValueResponse] = Field(
        description=f"the most frequent values first, without texts of more than {MAX_VALUE_CHARS} characters"
    )
    min: int | float | None = Field(description="the smallest number; null without numbers", examples=[1999])
    max: int | float | None = Field(description="the largest number; null without numbers", examples=[2024])


class FieldsResponse(BaseModel):
    """The fields of the metadata of a collection, the most common first."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "n_images": 1200,
                "n_read": 1200,
                "n_fields": 1,
                "fields": [
                    {
                        "name": "year",
                        "n_images": 1200,
                        "kinds": ["number"],
                        "n_distinct": 26,
                        "values": [{"value": 2001, "count": 85}],
                        "min": 1999,
                        "max": 2024,
                    }
                ],
            }
        )
    )

    n_images: int = Field(description="images of the collection that pass the filter")
    n_read: int = Field(
        description=f"images that were counted: all, or of more than {MAX_READ:,} as many, spread evenly"
    )
    n_fields: int
    fields: list[FieldResponse] = Field(json_schema_extra={"maxItems": MAX_FIELDS})

    @classmethod
    def of(cls, summary: facets.FieldSummary) -> "FieldsResponse":
        """Convert the domain object."""
        return cls(
            n_images=summary.n_images,
            n_read=summary.n_read,
            n_fields=summary.n_fields,
            fields=list(map(_field, summary.fields)),
        )


class _MonthsParameters(RequestModel):
    """The query string of the months of a collection."""

    field: Annotated[str, WithJsonSchema(schemas.PATH_TEXT)] = Field(
        description="a metadata field with dates, such as exif.taken_at"
    )
    filter: Annotated[str | None, WithJsonSchema(schemas.FILTER_TEXT)] = Field(
        None, description="count only images whose metadata passes this filter, as JSON"
    )


MonthsQuery = Annotated[_MonthsParameters, Query()]


class MonthResponse(BaseModel):
    """A month, and how many images have a date of it."""

    month: str = Field(examples=["2024-05"])
    n_images: int


class MonthsResponse(BaseModel):
    """The months of a field, the oldest first, without those of no image."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "field": "exif.taken_at",
                "n_images": 1200,
                "months": [{"month": "2024-05", "n_images": 31}, {"month": "2024-07", "n_images": 1160}],
            }
        )
    )

    field: str
    n_images: int = Field(description="images that pass the filter, also those without a date in the field")
    months: list[MonthResponse]


class _DuplicatesParameters(RequestModel):
    """The query string of the duplicates of a collection."""

    kind: Literal["bytes", "picture"] = Field(
        "bytes",
        description="the same bytes, or also the same picture in another file, as `collapse` of /search",
    )
    after: str | None = None
    limit: int = Field(20, ge=1, le=100, description="groups on a page")


DuplicatesQuery = Annotated[_DuplicatesParameters, Query()]


class _FoldersParameters(RequestModel):
    """The query string of the folders of a collection."""

    under: str = Field("", description="the folder whose folders are listed; without it the topmost ones are")
    filter: Annotated[str | None, WithJsonSchema(schemas.FILTER_TEXT)] = Field(
        None, description="count only images whose metadata passes this filter, as JSON"
    )


FoldersQuery = Annotated[_FoldersParameters, Query()]


class FolderResponse(BaseModel):
    """A folder that images come from."""

    folder: str = Field(examples=["2024/italy"], description="its path, as `file.folder` has it")
    n_images: int = Field(description="in it, and in all folders within it")
    n_folders: int = Field(description="directly within it")


class FoldersResponse(BaseModel):
    """The folders directly within one, from A to Z; at most a thousand of the `n_folders`."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "under": "2024",
                "n_folders": 1,
                "folders": [{"folder": "2024/italy", "n_images": 311, "n_folders": 4}],
            }
        )
    )

    under: str
    n_folders: int
    folders: list[FolderResponse]


class DuplicateGroupResponse(BaseModel):
    """Images with the same bytes, or of the same picture as the first one, by id."""

    n_images: int = Field(examples=[2])
    images: list[ImageResponse] = Field(
        description=f"at most {MAX_GROUP_IMAGES}", json_schema_extra={"maxItems": MAX_GROUP_IMAGES}
    )


class DuplicatesResponse(BaseModel):
    """A page of groups by the ids of their first images. `next` is the `after` of the next page; null on the
    last.
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "groups": [{"n_images": 2, "images": [IMAGE_EXAMPLE, IMAGE_EXAMPLE | {"id": "cat-2"}]}],
                "next": None,
                "n_groups": 1,
                "n_duplicates": 1,
                "n_unknown": 0,
            }
        )
    )

    groups: list[DuplicateGroupResponse]
    next: str | None
    n_groups: int = Field(description="on all pages")
    n_duplicates: int = Field(description="images that could go if one of each group stayed")
    n_unknown: int = Field(
        description="images without a picture hash, which are compared by their bytes; 0 for kind=bytes"
    )

    @classmethod
    def of(cls, page: DuplicatePage) -> "DuplicatesResponse":
        """Convert the domain object."""
        groups = [
            DuplicateGroupResponse(n_images=one.n_images, images=list(map(ImageResponse.of, one.images)))
            for one in page.groups
        ]
        return cls(**{**vars(page), "groups": groups})


router = APIRouter(
    tags=["collections"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute
)


@router.get(
    "/collections/{collection}/fields",
    summary="Describe the metadata of a collection",
    response_model=FieldsResponse,
    responses=documented_errors(400, 404, 422),
)
@needs("read", collections="path")
async def describe_fields(
    request: Request, services: ReadyServices, collection: str, query: FieldsQuery
) -> Response:
    """Describe the fields of the metadata: how many images have each, with which values.

    The answer is kept until an image of the collection is added, or one of any is changed or deleted.
    """
    filter = filter_of_query(query.filter)
    with context_of(request).stage("work"):
        describing = services.collections.images.fields(collection, filter, query.limit, nested=query.nested)
        summary = await cancel_on_disconnect(request, describing)
    return json_response(request, FieldsResponse.of(summary))


@router.get(
    "/collections/{collection}/months",
    summary="Count images by month",
    response_model=MonthsResponse,
    responses=documented_errors(400, 404, 422),
)
@needs("read", collections="path")
async def count_months(
    request: Request, services: ReadyServices, collection: str, query: MonthsQuery
) -> Response:
    """Count the images by the month of the date that a metadata field has.

    The date of an image is the one that sorts it in a list with `order_by`. The answer is kept as that of the
    fields.
    """
    filter = filter_of_query(query.filter)
    path = parse_path(query.field, "field")
    with context_of(request).stage("work"):
        counting = services.collections.images.months(collection, path, filter)
        found = await cancel_on_disconnect(request, counting)
    months = [MonthResponse(month=month, n_images=n) for month, n in found.counts.items()]
    return json_response(request, MonthsResponse(field=query.field, n_images=found.n_images, months=months))


@router.get(
    "/collections/{collection}/folders",
    summary="Count images by folder",
    response_model=FoldersResponse,
    responses=documented_errors(400, 404, 422),
)
@needs("read", collections="path")
async def count_folders(
    request: Request, services: ReadyServices, collection: str, query: FoldersQuery
) -> Response:
    """Count the images by the folders that their files were in, one level at a time.

    The answer is kept as that of the fields.
    """
    filter = filter_of_query(query.filter)
    under = query.under.rstrip("/")
    with context_of(request).stage("work"):
        counting = services.collections.images.folders(collection, under, filter)
        found = await cancel_on_disconnect(request, counting)
    folders = [FolderResponse(**vars(one)) for one in found[:MAX_FOLDERS]]
    answer = FoldersResponse(under=under, n_folders=len(found), folders=folders)
    return json_response(request, answer)


@router.get(
    "/collections/{collection}/duplicates",
    summary="Find duplicates in a collection",
    response_model=DuplicatesResponse,
    responses=documented_errors(404, 409, 422, 429),
)
@needs("read", collections="path")
async def find_duplicates(
    request: Request, services: ReadyServices, collection: str, query: DuplicatesQuery
) -> Response:
    """Find images with the same bytes, or of the same picture, in groups of two or more.

    For `picture`, images that were added by earlier releases get their hash, at most 2,000 a call: call again
    while `n_unknown` falls.
    """
    with context_of(request).stage("work"):
        finding = services.collections.images.duplicates(collection, query.kind, query.after, query.limit)
        page = await cancel_on_disconnect(request, finding)
    return json_response(request, DuplicatesResponse.of(page))


def _field(field: facets.Field) -> FieldResponse:
    values = [FieldValueResponse(value=value, count=n) for value, n in field.values]
    return FieldResponse(**{**vars(field), "values": values})
