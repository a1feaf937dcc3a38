/** `add`: any number of images into a collection, in bounded batches, going on when single images fail. */

import type { components } from "./schema.js";
import { checkedOptions, checkIterable, checkObject, checkTexts } from "./checks.js";
import { form } from "./encoding.js";
import { DiptychError, invalidCall, problemError, unexpected } from "./errors.js";
import { batches, checkImage, checkVector, floatBytes, type ImageInput, type Loaded } from "./images.js";
import { toJson, type CallOptions, type HttpRequest, type Transport } from "./transport.js";
import type { AddStatus, ImageRecord, Metadata, ModelRef } from "./types.js";

/** An image to add. Without an `id` the server makes one from the bytes. */
export interface AddItem {
  image: ImageInput;
  id?: string;
  metadata?: Metadata;
}

/** What happened to the `index`-th item of a call. `error` is set if it failed. */
export interface AddOutcome {
  index: number;
  id: string | null;
  status: AddStatus;
  error: DiptychError | null;
  /** Whether an "unchanged" image lacks metadata that was given, which `replace` would store. `file` does not count. */
  metadata_differs: boolean;
}

/** How far an `add` is. */
export interface AddProgress {
  nDone: number;
  nFailed: number;
  /** How many items there are; null as long as an iterator has not ended. */
  nItems: number | null;
}

/** How much of an upload is sent. */
export interface UploadProgress {
  sentBytes: number;
  /** Null if the images are not all known yet. */
  totalBytes: number | null;
}

/** Options of `add`. */
export interface AddOptions extends CallOptions {
  /** The default collection of the server without it. */
  collection?: string;
  /** Replace images that have the same id and other bytes. */
  replace?: boolean;
  /** Ask by id and sha256 first, and do not send images that the server has. Needs `https:` or this machine. */
  skipKnown?: boolean;
  /** Called for each item, in order. */
  onOutcome?: (outcome: AddOutcome) => void;
  /** Called after each batch. */
  onProgress?: (progress: AddProgress) => void;
  /** Called while images are sent. */
  onUploadProgress?: (progress: UploadProgress) => void;
}

/** A ready-made vector to add. */
export interface VectorItem {
  /** Of unit norm. */
  vector: ArrayLike<number>;
  id?: string;
  metadata?: Metadata;
}

/** Options of `addVectors`. */
export interface AddVectorsOptions extends CallOptions {
  /** The model that made the vectors, as an answer of `embed` names it. */
  model: ModelRef;
  /** Tells versions with the same name and number apart; exported files have it. */
  identity?: string;
  collection?: string;
  replace?: boolean;
  onOutcome?: (outcome: AddOutcome) => void;
}

type Items<T> = Iterable<T> | AsyncIterable<T>;
type AddResponse = components["schemas"]["AddResponse"];

/**
 * The metadata `file` of a file: its path within what is added, and when it was modified, in milliseconds since 1970.
 *
 * @example
 * const items = files.map((file) => ({ image: file, metadata: { file: fileMetadata(file.name, file.lastModified) } }));
 */
export function fileMetadata(path: string, modified?: number): { name: string; folder: string; modified?: string } {
  const end = path.lastIndexOf("/");
  const place = { name: path.slice(end + 1), folder: path.slice(0, Math.max(end, 0)) || "." };
  return modified === undefined ? place : { ...place, modified: `${new Date(modified).toISOString().slice(0, 19)}Z` };
}

const CONTENT_ID_DIGITS = 32;
const MAX_VECTORS = 1000;
const FAILED = { id: null, status: "failed", metadata_differs: false } as const;

const ADD_ITEM = "an object { image, id, metadata }";
const VECTOR_ITEM = "an object { vector, id, metadata }";

export async function add(transport: Transport, items: Items<AddItem>, options: AddOptions): Promise<AddOutcome[]> {
  checkedOptions(options);
  checkIterable("items", "objects { image, id, metadata }", items);
  if (Array.isArray(items)) for (const [i, item] of items.entries()) checkAddItem(item, i);
  const { collection = await defaultCollection(transport, options) } = options;
  const call = new AddCall(transport, collection, options, totalBytes(items));
  let nItems = Array.isArray(items) ? items.length : null;
  const outcomes: AddOutcome[] = [];
  let nFailed = 0;
  for await (const batch of batches(items, checkAddItem, "yield")) {
    const found = await call.addBatch(batch);
    for (const outcome of found) {
      outcomes.push(outcome);
      if (outcome.status === "failed") nFailed++;
      options.onOutcome?.(outcome);
    }
    options.onProgress?.({ nDone: outcomes.length, nFailed, nItems });
  }
  if (nItems === null) {
    nItems = outcomes.length;
    options.onProgress?.({ nDone: outcomes.length, nFailed, nItems });
  }
  return outcomes;
}

/** The default collection of the server. */
export async function defaultCollection(transport: Transport, { signal }: CallOptions): Promise<string> {
  const request = { method: "GET", path: ["version"], signal } as const;
  return transport.json(request, (version: components["schemas"]["ServerVersion"]) => version.default_collection);
}

/** Return the image of the `index`-th item. */
function checkAddItem(item: AddItem, index: number): ImageInput {
  checkObject(`items[${index}]`, ADD_ITEM, item);
  checkImage(`items[${index}].image`, item.image, false);
  return item.image;
}

function totalBytes(items: Items<AddItem>): number | null {
  if (!Array.isArray(items)) return null;
  let total = 0;
  for (const { image } of items as AddItem[]) {
    if (typeof image === "function") return null;
    total += image instanceof Blob ? image.size : image.byteLength;
  }
  return total;
}

type Batch = Loaded<AddItem>[];

/** One call of `add`: what all of its requests share. */
class AddCall {
  private sentBytes = 0;
  private reportedBytes = -1;

  constructor(
    private readonly transport: Transport,
    private readonly collection: string,
    private readonly options: AddOptions,
    private readonly totalBytes: number | null,
  ) {}

  /** Send the readable images of a batch. Return the outcomes of all of its images, in order. */
  async addBatch(batch: Batch): Promise<AddOutcome[]> {
    const outcomes: AddOutcome[] = [];
    let readable: Batch = [];
    for (const loaded of batch)
      if (loaded.bytes instanceof Blob) readable.push(loaded);
      else outcomes.push({ index: loaded.index, ...FAILED, error: loaded.bytes.withItem(null) });
    if (this.options.skipKnown && readable.length > 0) {
      const unchanged = await this.unchanged(readable);
      const known = new Set(unchanged.map(({ index }) => index));
      outcomes.push(...unchanged);
      for (const { index, bytes } of readable) if (known.has(index)) this.count((bytes as Blob).size);
      readable = readable.filter(({ index }) => !known.has(index));
    }
    if (readable.length > 0) outcomes.push(...(await this.send(readable)));
    return outcomes.sort((one, other) => one.index - other.index);
  }

  /** Return the outcomes of images that the server has and would not change. */
  private async unchanged(batch: Batch): Promise<AddOutcome[]> {
    const named = await Promise.all(
      batch.map(async ({ index, item, bytes }) => {
        const sha256 = await sha256Of(bytes as Blob);
        return { index, sha256, id: item.id ?? sha256.slice(0, CONTENT_ID_DIGITS), metadata: item.metadata };
      }),
    );
    const ids = [...new Set(named.map(({ id }) => id))];
    const records = await lookUp(this.transport, this.collection, ids, this.options);
    const outcomes: AddOutcome[] = [];
    for (const { index, sha256, id, metadata } of named) {
      const record = records.get(id);
      if (record === undefined || record.sha256 !== sha256 || record.referenced) continue;  // a library's is kept anew
      if (this.options.replace && metadata !== undefined && !sameJson(metadata, record.metadata)) continue;
      const differs = metadata !== undefined && lacks(record.metadata, metadata);
      outcomes.push({ index, id, status: "unchanged", error: null, metadata_differs: differs });
    }
    return outcomes;
  }

  /** Send one request. If the server refuses it, send each half, until only the bad image fails. */
  private async send(batch: Batch): Promise<AddOutcome[]> {
    const before = this.sentBytes;
    try {
      return await this.request(batch);
    } catch (error) {
      if (!(error instanceof DiptychError) || !concernsOneItem(error)) throw error;
      if (batch.length === 1) {
        this.report(before + sizeOf(batch));
        return [{ index: batch[0]?.index ?? 0, ...FAILED, error: ofSingleItem(error) }];
      }
      this.sentBytes = before;
    }
    const half = Math.floor(batch.length / 2);
    const first = await this.send(batch.slice(0, half));
    return [...first, ...(await this.send(batch.slice(half)))];
  }

  private async request(batch: Batch): Promise<AddOutcome[]> {
    const fields: [string, string | Blob][] = batch.map(({ bytes }) => ["image", bytes as Blob]);
    if (batch.some(({ item }) => item.id !== undefined || item.metadata !== undefined)) {
      const items = batch.map(({ item: { id, metadata } }) => ({ id, metadata }));
      fields.push(["items", toJson("metadata", items)]);
    }
    const before = this.sentBytes;
    const size = sizeOf(batch);
    const counted = this.options.onUploadProgress !== undefined;
    const request: HttpRequest = {
      method: "POST",
      path: ["collections", this.collection, "images"],
      query: { replace: this.options.replace || undefined },
      body: form(fields),
      signal: this.options.signal,
      onSent: counted ? (sent, total) => this.report(before + Math.round((size * sent) / total)) : undefined,
    };
    const indexes = batch.map(({ index }) => index);
    const outcomes = await this.transport.json(request, (answer: AddResponse) => outcomesOf(answer, indexes));
    this.report(before + size);
    return outcomes;
  }

  private count(bytes: number): void {
    this.report(this.sentBytes + bytes);
  }

  private report(sentBytes: number): void {
    this.sentBytes = sentBytes;
    if (sentBytes === this.reportedBytes) return; // the end of a request was reported when its last byte was sent
    this.reportedBytes = sentBytes;
    this.options.onUploadProgress?.({ sentBytes, totalBytes: this.totalBytes });
  }
}

export async function lookUp(
  transport: Transport,
  collection: string,
  ids: readonly string[],
  options: CallOptions,
): Promise<Map<string, ImageRecord>> {
  const { signal } = checkedOptions(options);
  checkTexts("ids", ids);
  const path = ["collections", collection, "lookups"];
  const request = { method: "POST", path, json: { ids }, signal } as const;
  const read = ({ images }: components["schemas"]["FoundImages"]): Map<string, ImageRecord> =>
    new Map(images.map((image) => [image.id, image]));
  return transport.json(request, read);
}

export async function addVectors(
  transport: Transport,
  items: Items<VectorItem>,
  options: AddVectorsOptions,
): Promise<AddOutcome[]> {
  checkedOptions(options, "an object with { model }");
  checkObject("model", "an object { name, version, precision, decode }", options.model);
  checkIterable("items", "objects { vector, id, metadata }", items);
  if (Array.isArray(items)) for (const [i, item] of items.entries()) checkVectorItem(item, i);
  const { collection = await defaultCollection(transport, options), model, identity, signal } = options;
  const { name, version, precision, decode } = model;
  const outcomes: AddOutcome[] = [];
  const send = async (batch: VectorItem[]): Promise<void> => {
    const start = outcomes.length;
    const width = batch[0]?.vector.length ?? 0;
    for (const [i, { vector }] of batch.entries())
      if (vector.length !== width || width === 0)
        throw invalidCall(`items[${start + i}].vector has ${vector.length} numbers, items[${start}].vector has ${width}`);
    const embeddings = batch.map(({ vector }, i) => floatBytes(`items[${start + i}].vector`, vector));
    const fields: [string, string | Blob][] = [
      ["model", toJson("model", { name, version, precision, decode, identity })],
      ["embeddings", new Blob(embeddings)],
    ];
    if (batch.some(({ id, metadata }) => id !== undefined || metadata !== undefined))
      fields.push(["items", toJson("metadata", batch.map(({ id, metadata }) => ({ id, metadata })))]);
    const path = ["collections", collection, "vectors"];
    const query = { replace: options.replace || undefined };
    const request = { method: "POST", path, query, body: form(fields), signal } as const;
    let found: AddOutcome[];
    try {
      const indexes = batch.map((_, i) => start + i);
      found = await transport.json(request, (answer: AddResponse) => outcomesOf(answer, indexes));
    } catch (error) {
      if (!(error instanceof DiptychError && batch.length === 1 && error.item?.startsWith("items[0]"))) throw error;
      found = [{ index: start, ...FAILED, error: ofSingleItem(error) }];
    }
    for (const outcome of found) {
      outcomes.push(outcome);
      options.onOutcome?.(outcome);
    }
  };
  let batch: VectorItem[] = [];
  for await (const item of items) {
    checkVectorItem(item, outcomes.length + batch.length);
    batch.push(item);
    if (batch.length === MAX_VECTORS) await send(batch.splice(0));
  }
  if (batch.length > 0) await send(batch);
  return outcomes;
}

function checkVectorItem(item: VectorItem, index: number): void {
  checkObject(`items[${index}]`, VECTOR_ITEM, item);
  checkVector(`items[${index}].vector`, item.vector);
}

/** The outcomes of one request. `indexes` are those of its items in the whole call. */
function outcomesOf(answer: AddResponse, indexes: readonly number[]): AddOutcome[] {
  if (answer.outcomes?.length !== indexes.length)
    throw unexpected(`${answer.outcomes?.length} outcomes for ${indexes.length} items`);
  return answer.outcomes.map(({ id, status, error, metadata_differs = false }, i) => ({
    index: indexes[i] as number,
    id,
    status,
    error: error === null ? null : problemError(error, error.status),
    metadata_differs,
  }));
}

/** Whether stored metadata lacks a field that was given, as the server judges. */
function lacks(stored: Metadata, given: Metadata): boolean {
  const { file, ...wanted } = given;
  return Object.entries(wanted).some(([name, value]) => !(name in stored) || !sameJson(value, stored[name]));
}

/** Whether smaller requests can succeed. An error of a too large body names no item. */
function concernsOneItem(error: DiptychError): boolean {
  return error.kind === "api" && (error.item !== null || error.status === 413);
}

/** The error of a request with one item as that of the item: `items[0].id` becomes `id`. */
function ofSingleItem(error: DiptychError): DiptychError {
  return error.withItem(error.item?.replace(/^(?:images|items)\[0\]\.?/, "") || null);
}

function sizeOf(batch: Batch): number {
  return batch.reduce((sum, { bytes }) => sum + (bytes as Blob).size, 0);
}

async function sha256Of(bytes: Blob): Promise<string> {
  const { subtle } = globalThis.crypto;
  if (subtle === undefined) throw invalidCall("skipKnown needs a page of https: or of this machine, to compute sha256");
  const digest = new Uint8Array(await subtle.digest("SHA-256", await bytes.arrayBuffer()));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether two values of JSON are equal, whatever the order of their keys. */
function sameJson(one: unknown, other: unknown): boolean {
  const sorted = (_: string, value: unknown): unknown =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value;
  return JSON.stringify(one, sorted) === JSON.stringify(other, sorted);
}
