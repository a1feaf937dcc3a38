/** The values of the API, under short names. Their fields have the names that the server gives them. */

import type { components } from "./schema.js";

/** Every value of the API, by the name that `openapi.json` gives it, such as `Schemas["SearchResponse"]`. */
export type Schemas = components["schemas"];

/** A problem (RFC 9457), as the server sends it. */
export type Problem = Schemas["Problem"];
/** The model version that made an answer, with its precision and its mode of decoding images. */
export type ModelRef = Schemas["ModelRef"];
/** Conditions on one value of metadata, which must all hold. */
export interface Conditions {
  eq?: unknown;
  ne?: unknown;
  in?: readonly unknown[];
  lt?: number | string;
  lte?: number | string;
  gt?: number | string;
  gte?: number | string;
  /** A date: a year, a month, a day or a time, such as "2024-05". */
  on?: string;
  /** A text within the value, whatever the case. */
  contains?: string;
  exists?: boolean;
}
/**
 * Conditions on metadata: all keys must hold. Dots in a key lead into nested objects; `and` and `or` take lists of filters,
 * `not` takes one. Such as `{ "place.city": "Rome", or: [{ year: { gte: 2000 } }, { not: { colour: "red" } }] }`.
 */
export interface Filter {
  [field: string]: string | number | boolean | null | readonly unknown[] | Conditions | Filter;
}
/** "desc": the largest values and the latest dates first. */
export type Direction = "asc" | "desc";
/** Metadata of an image: any JSON object. */
export type Metadata = Record<string, unknown>;

/** The predictions of a call. `data[i]` belongs to the i-th image, best first. */
export type Classification = Schemas["ClassifyResponse"];
/** One label of one image, with its `score` in [0, 1] and its `cosine`. */
export type Prediction = Schemas["PredictionResponse"];
/** The hits of a search, best first. */
export type SearchResult = Schemas["SearchResponse"];
/** One image that a search found. */
export type Hit = Schemas["HitResponse"];
/** The most frequent values of a metadata field among the best hits. */
export type Facet = Schemas["FacetResponse"];

/** A collection, with its sizes and its state. */
export type CollectionInfo = Schemas["CollectionResponse"];
/** One image of a collection. */
export type ImageRecord = Schemas["ImageResponse"];
/** One page of images by id. `next` is the `after` of the next page; null on the last page. */
export type ImagePage = Schemas["ImagePage"];
/** The fields of the metadata of a collection, the most common first. */
export type MetadataFields = Schemas["FieldsResponse"];
export type Folders = Schemas["FoldersResponse"];
export type Months = Schemas["MonthsResponse"];
/** One page of groups of images that are alike. */
export type DuplicatePage = Schemas["DuplicatesResponse"];
/** A label set. */
export type LabelSet = Schemas["LabelSetResponse"];
/** A label set that was created or changed. */
export type PutLabelSet = Schemas["PutLabelSetResponse"];
/** A label set, and what it gives the images of its collection. */
export type LabelSetReport = Schemas["LabelSetReportResponse"];
/** One page of images with their labels. `next` is the `after` of the next page; null on the last page. */
export type LabelledImagePage = Schemas["LabelledImagePage"];
/** Images to review next, in order. */
export type LabelProposals = Schemas["ProposalsResponse"];
/** Stored verdicts, each with the one before; `unknown` are ids that no image has. */
export type GivenVerdicts = Schemas["VerdictsResponse"];
/** What a person said of a picture. */
export type Verdict = Schemas["VerdictResponse"];
/** How many images were deleted, or would be. */
export type Deletion = Schemas["DeletionResponse"];
/** What happened to an added image. */
export type AddStatus = Schemas["AddOutcomeResponse"]["status"];

/** An add that runs in the background. */
export type Job = Schemas["JobResponse"];
/** A folder of pictures that the server reads where they are. */
export type Library = Schemas["LibraryResponse"];
/** The outcome of one image of a job. */
export type JobOutcome = Schemas["JobOutcomeResponse"];
/** One page of outcomes of a job. `next` is the `after` of the next page; null if there is none yet. */
export type JobPage = Schemas["JobOutcomePage"];

/** A model of the repository. The served one has an `active` version. */
export type ModelSummary = Schemas["ModelResponse"];
/** All versions of a model. */
export type ModelVersions = Schemas["ModelVersions"];
/** One version of a model with its manifest. */
export type ModelVersion = Schemas["VersionEntryResponse"];
/** What the repository holds, and how the server moves between versions. */
export type ModelList = Schemas["ModelList"];
/** The version that a push published. */
export type PushedVersion = Schemas["PushedVersionResponse"];
/** One move of the server, or of one collection, to a version. */
export type Rollout = Schemas["RolloutResponse"];
/** Two versions in each collection that has vectors of both. */
export type Comparison = Schemas["ComparisonResponse"];

/** An API key without its token. */
export type ApiKey = Schemas["KeyResponse"];
/** A new API key; `key` is what callers send, and cannot be shown again. */
export type CreatedKey = Schemas["CreatedKeyResponse"];
/** What an API key allows: "write" includes "read", "admin" includes both. */
export type KeyScope = "read" | "write" | "admin";

/** Versions and limits of the server. `model` is null while it loads. */
export type ServerVersion = Schemas["ServerVersion"];
