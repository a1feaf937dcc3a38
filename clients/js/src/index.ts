/**
 * JavaScript client of the diptych server, for browsers and Node.
 *
 * `Client` has one method for each call of the API. Read `client.ts` first; `transport.ts` sends the requests.
 */

export { Client } from "./client.js";
export type { Readiness, UploadOptions } from "./client.js";
export { DiptychError } from "./errors.js";
export type { ErrorKind } from "./errors.js";
export { fileMetadata } from "./adding.js";
export type {
  AddItem,
  AddOptions,
  AddOutcome,
  AddProgress,
  AddVectorsOptions,
  UploadProgress,
  VectorItem,
} from "./adding.js";
export type { ClassifyOptions, EmbeddedItem, Embeddings, EmbedInput } from "./encoding.js";
export type { ImageBytes, ImageInput, ImageSource } from "./images.js";
export type { FollowJobOptions, JobEvent, JobEventsOptions } from "./jobs.js";
export type { Query, SearchOptions } from "./searching.js";
export type { CallOptions, ClientOptions } from "./transport.js";
export type * from "./types.js";
export type { components, paths } from "./schema.js";
