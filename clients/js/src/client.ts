/** The client: one method for each call of the API. */

import { add, addVectors, defaultCollection, lookUp } from "./adding.js";
import type { AddItem, AddOptions, AddOutcome, AddVectorsOptions, UploadProgress, VectorItem } from "./adding.js";
import { checkedOptions, checkList, checkObject, checkTexts, wrongArgument } from "./checks.js";
import { classify, classifyItems, embed, without } from "./encoding.js";
import type { ClassifyOptions, Embeddings, EmbedInput } from "./encoding.js";
import { DiptychError } from "./errors.js";
import { base64, floatBytes } from "./images.js";
import type { ImageSource } from "./images.js";
import { followJob, jobEvents } from "./jobs.js";
import type { FollowJobOptions, JobEvent, JobEventsOptions } from "./jobs.js";
import { search } from "./searching.js";
import type { Query, SearchOptions } from "./searching.js";
import { pause, toJson, Transport } from "./transport.js";
import type { CallOptions, ClientOptions, HttpRequest } from "./transport.js";
import type * as api from "./types.js";

const DEFAULT_URL = "http://127.0.0.1:8000";
const TAR = "application/x-tar";
const POLL_S = 0.5;
const ENDED: readonly api.Rollout["state"][] = ["active", "failed", "cancelled"];

/** Options of calls that send a large file. */
export interface UploadOptions extends CallOptions {
  onUploadProgress?: (progress: UploadProgress) => void;
}

/** Whether the server takes requests, and if not, why. */
export interface Readiness {
  ready: boolean;
  detail: string;
}

/**
 * A client of the diptych server at `url`.
 *
 * Without `url` it speaks to the server of the page that it runs in; under Node to `DIPTYCH_URL`, or else to
 * http://127.0.0.1:8000. Every call takes a `signal` that cancels it, and throws a `DiptychError`.
 *
 * @example
 * const client = new Client("http://127.0.0.1:8000", { apiKey: "dk_..." });
 * const { hits } = await client.search("a sleeping cat", { k: 3 });
 */
export class Client {
  private readonly transport: Transport;

  constructor(url?: string | URL, options: ClientOptions = {}) {
    this.transport = new Transport(url ?? defaultUrl(), options);
  }

  /** The address of the server, with a slash at its end. */
  get url(): string {
    return this.transport.base.href;
  }

  /** The key that is sent with every request. May be changed. */
  get apiKey(): string | null {
    return this.transport.apiKey;
  }

  set apiKey(key: string | null) {
    this.transport.apiKey = key;
  }

  // Embeddings, labels, search

  /**
   * Embed texts and images into the same space. Embeddings have unit norm: their dot product is their cosine. Lists of any
   * length are sent in several requests; if the server moves to another model version meanwhile, a `version-changed` error
   * is thrown.
   *
   * @example
   * const { model, texts, images } = await client.embed({ texts: ["a cat"], images: [file] });
   * const cosine = texts[0].embedding.reduce((sum, x, i) => sum + x * images[0].embedding[i], 0);
   */
  embed(input: EmbedInput, options: CallOptions = {}): Promise<Embeddings> {
    return embed(this.transport, input, options);
  }

  /**
   * Classify images zero-shot: which of the `labels` goes with each image, best first.
   *
   * @example
   * const { data } = await client.classify([file], ["a cat", "a dog"], { template: "a photo of {}" });
   * console.log(data[0].predictions[0].label, data[0].predictions[0].score);
   */
  classify(
    images: readonly ImageSource[],
    labels: readonly string[],
    options: ClassifyOptions = {},
  ): Promise<api.Classification> {
    return classify(this.transport, images, labels, options);
  }

  /**
   * Classify images by embeddings that `embed` has answered, to try other labels without sending the images again. `model` is
   * that of the same answer; the error has status 409 if the server has another one by now.
   *
   * @example
   * const { model, images } = await client.embed({ images: [file] });
   * await client.classifyEmbeddings(images.map(({ embedding }) => embedding), ["a cat", "a dog"], { model });
   */
  async classifyEmbeddings(
    embeddings: readonly ArrayLike<number>[],
    labels: readonly string[],
    options: ClassifyOptions & { model: api.ModelRef },
  ): Promise<api.Classification> {
    const { model } = checkedOptions(options, "an object with { model }");
    checkObject("model", "an object { name, version, precision, decode }", model);
    checkList("embeddings", "vectors", embeddings);
    const encoded = (vector: ArrayLike<number>, i: number): string =>
      base64(new Uint8Array(floatBytes(`embeddings[${i}]`, vector)));
    const items = embeddings.map((vector, i) => ({ embedding: encoded(vector, i) }));
    return classifyItems(this.transport, "embeddings", items, labels, options);
  }

  /** Classify images of a `collection`, or of the default one, by their ids. */
  async classifyStored(
    ids: readonly string[],
    labels: readonly string[],
    options: ClassifyOptions & { collection?: string } = {},
  ): Promise<api.Classification> {
    const { collection } = checkedOptions(options);
    checkTexts("ids", ids);
    const items = ids.map((id) => without({ id, collection }));
    return classifyItems(this.transport, "ids", items, labels, options);
  }

  /**
   * Find images by a text, by an image, by one of their own, or by a weighted mix, best first; with `match` also by
   * words of their names and metadata.
   *
   * @example
   * await client.search("a cat", { collection: "pets", filter: { year: { gte: 2020 } } });
   * await client.search({ image: file }, { collections: ["*"], minRelevance: 0.5 });
   * await client.search([{ id: "tom" }, { text: "asleep", weight: 0.5 }], { collapse: "picture", facets: ["year"] });
   */
  search(query: string | Query | readonly Query[], options: SearchOptions = {}): Promise<api.SearchResult> {
    return search(this.transport, query, options);
  }

  // Adding

  /**
   * Add any number of images. Returns one outcome for each, in order.
   *
   * Items may come from an async iterator; at most 64 images and 32 MB are in memory. An image that fails has an outcome
   * with its error, and the others are added. An error that concerns all of them is thrown; `onOutcome` has then received
   * all earlier outcomes. An image that the collection already has is "unchanged", so repeat an interrupted call to resume
   * it.
   *
   * @example
   * const items = [...input.files].map((file) => ({ image: file, metadata: { file: fileMetadata(file.name) } }));
   * const outcomes = await client.add(items, {
   *   collection: "pets",
   *   onProgress: ({ nDone, nItems }) => console.log(`${nDone} of ${nItems}`),
   * });
   * for (const { index, error } of outcomes) if (error) console.error(index, error.message);
   */
  add(items: Iterable<AddItem> | AsyncIterable<AddItem>, options: AddOptions = {}): Promise<AddOutcome[]> {
    return add(this.transport, items, options);
  }

  /**
   * Add the images in a tar archive of any size as a job, which `followJob` follows. `cat.json` next to `cat.jpg` may
   * contain `{"id": .., "metadata": {..}}`. When this resolves, the server has the archive on its disk and continues the
   * job even after a restart.
   *
   * @example
   * const job = await client.addTar(file, { collection: "pets" });
   * await client.followJob(job.id, { onOutcome: ({ file, status }) => console.log(file, status) });
   */
  async addTar(
    archive: Blob,
    options: UploadOptions & { collection?: string; replace?: boolean } = {},
  ): Promise<api.Job> {
    const sent = upload(archive, options);
    const { collection = await defaultCollection(this.transport, options) } = options;
    const path = ["collections", collection, "images"];
    return this.post(path, options, { ...sent, query: { replace: options.replace || undefined } });
  }

  /**
   * Add ready-made vectors of the served version. Returns one outcome for each, in order.
   *
   * @example
   * const { model, images } = await client.embed({ images: [file] });
   * await client.addVectors([{ vector: images[0].embedding, id: "tom" }], { model, collection: "pets" });
   */
  addVectors(
    items: Iterable<VectorItem> | AsyncIterable<VectorItem>,
    options: AddVectorsOptions,
  ): Promise<AddOutcome[]> {
    return addVectors(this.transport, items, options);
  }

  // Collections

  /** List all collections. */
  async collections(options: CallOptions = {}): Promise<api.CollectionInfo[]> {
    return this.list("collections", options);
  }

  /** Return one collection, or throw an error of status 404. */
  collection(name: string, options: CallOptions = {}): Promise<api.CollectionInfo> {
    return this.get(["collections", name], options);
  }

  /**
   * Create an empty collection for the served model. With `keep: "none"` image files are not kept: such images have no
   * original and no thumbnail, and another version cannot embed them again. `textFields` are the dotted paths of the
   * metadata whose words can be searched; without them it is all metadata. The error has status 409 if the name is taken.
   *
   * @example
   * await client.createCollection("pets");
   */
  async createCollection(
    name: string,
    options: CallOptions & { keep?: "original" | "none"; textFields?: readonly string[] } = {},
  ): Promise<api.CollectionInfo> {
    const { keep, textFields } = checkedOptions(options);
    const json = without({ name, keep, text_fields: textFields });
    return this.post(["collections"], options, { json, repeatable: false });
  }

  /**
   * Change the name of a collection, whether it keeps the files of new images, and the metadata whose words can be
   * searched: dotted paths, or null for all.
   */
  async changeCollection(
    name: string,
    changes: { newName?: string; keep?: "original" | "none"; textFields?: readonly string[] | null },
    options: CallOptions = {},
  ): Promise<api.CollectionInfo> {
    checkObject("changes", "an object { newName, keep, textFields }", changes);
    const { newName, keep, textFields } = changes;
    const json = { ...without({ name: newName, keep }), ...(textFields === undefined ? {} : { text_fields: textFields }) };
    return this.call("PATCH", ["collections", name], options, { json, repeatable: false });
  }

  /** Delete a collection with all of its images. */
  async dropCollection(name: string, options: CallOptions = {}): Promise<void> {
    await this.delete(["collections", name], options);
  }

  // Images

  /**
   * List images in the order of their ids, or those that pass a `filter`: at most `limit` (100), beginning after the id
   * `after`. With `orderBy`, a field of the metadata, in the order of its values, or with the `direction` "desc" the largest
   * first; `after` is then the `next` of the page before.
   */
  async listImages(
    collection: string,
    options: CallOptions & {
      after?: string | null;
      limit?: number;
      filter?: api.Filter;
      orderBy?: string;
      direction?: api.Direction;
    } = {},
  ): Promise<api.ImagePage> {
    const { after, limit, filter, orderBy, direction } = checkedOptions(options);
    const query = { after, limit, filter: filter && toJson("filter", filter), order_by: orderBy, direction };
    return this.call("GET", ["collections", collection, "images"], options, { query });
  }

  /**
   * Describe the fields of the metadata of a collection, or of its images that pass a `filter`: each with at most `limit`
   * (20) values. With `nested` also the fields inside of objects, by paths such as `camera.make`.
   */
  async fields(
    collection: string,
    options: CallOptions & { filter?: api.Filter; limit?: number; nested?: boolean } = {},
  ): Promise<api.MetadataFields> {
    const { filter, limit, nested } = checkedOptions(options);
    const query = { filter: filter && toJson("filter", filter), limit, nested };
    return this.call("GET", ["collections", collection, "fields"], options, { query });
  }

  /** Count the images, or those that pass a `filter`, by the month of the date that a field of their metadata has. */
  async months(
    collection: string,
    field: string,
    options: CallOptions & { filter?: api.Filter } = {},
  ): Promise<api.Months> {
    const { filter } = checkedOptions(options);
    const query = { field, filter: filter && toJson("filter", filter) };
    return this.call("GET", ["collections", collection, "months"], options, { query });
  }

  /** Count the images, or those that pass a `filter`, by the folders directly within `under`, or by the topmost ones. */
  async folders(
    collection: string,
    options: CallOptions & { under?: string; filter?: api.Filter } = {},
  ): Promise<api.Folders> {
    const { under, filter } = checkedOptions(options);
    const query = { under, filter: filter && toJson("filter", filter) };
    return this.call("GET", ["collections", collection, "folders"], options, { query });
  }

  /**
   * Find images with the same bytes, or with `kind: "picture"` also of the same picture in another file: at most `limit` (20)
   * groups, by the ids of their first images, beginning after the id `after`.
   */
  async duplicates(
    collection: string,
    options: CallOptions & { kind?: "bytes" | "picture"; after?: string | null; limit?: number } = {},
  ): Promise<api.DuplicatePage> {
    const { kind, after, limit } = checkedOptions(options);
    const query = { kind, after, limit };
    return this.call("GET", ["collections", collection, "duplicates"], options, { query });
  }

  /** Return one image, or throw an error of status 404. */
  getImage(collection: string, id: string, options: CallOptions = {}): Promise<api.ImageRecord> {
    return this.get(["collections", collection, "images", id], options);
  }

  /** Look up at most 1,000 ids. Returns the images that exist, by id. */
  findImages(
    collection: string,
    ids: readonly string[],
    options: CallOptions = {},
  ): Promise<Map<string, api.ImageRecord>> {
    return lookUp(this.transport, collection, ids, options);
  }

  /** Return the file of an image as it was added. */
  original(collection: string, id: string, options: CallOptions = {}): Promise<Blob> {
    return this.blob(["collections", collection, "images", id, "original"], options);
  }

  /** Return a small image, its longer side at most `size` (64, 128, 256, 512 or 1024; 256 by default) pixels. */
  async thumbnail(collection: string, id: string, options: CallOptions & { size?: number } = {}): Promise<Blob> {
    const { size } = checkedOptions(options);
    return this.blob(["collections", collection, "images", id, "thumbnail"], options, { size });
  }

  /** The URL of the file of an image, for `<img src>` where the server needs no key. */
  originalUrl(collection: string, id: string): string {
    return this.transport.url(["collections", collection, "images", id, "original"]).href;
  }

  /** The URL of a small image, for `<img src>` where the server needs no key. */
  thumbnailUrl(collection: string, id: string, options: { size?: number } = {}): string {
    const { size } = checkedOptions(options, "an object { size }");
    return this.transport.url(["collections", collection, "images", id, "thumbnail"], { size }).href;
  }

  /** Merge `metadata` into that of an image (RFC 7396): sets the given keys, removes keys that are null. */
  patchImage(
    collection: string,
    id: string,
    metadata: api.Metadata,
    options: CallOptions = {},
  ): Promise<api.ImageRecord> {
    return this.call("PATCH", ["collections", collection, "images", id], options, { json: { metadata } });
  }

  /** Delete one image. */
  async deleteImage(collection: string, id: string, options: CallOptions = {}): Promise<void> {
    await this.delete(["collections", collection, "images", id], options);
  }

  /**
   * Delete the images that pass a filter, or with `preview` count them. `lacking` restricts this to images without a vector
   * of the served version. Give `filter`, `lacking` or both.
   *
   * @example
   * const { n_images } = await client.deleteImages("pets", { filter: { year: 2001 }, preview: true });
   */
  async deleteImages(
    collection: string,
    options: CallOptions & { filter?: api.Filter; lacking?: boolean; preview?: boolean },
  ): Promise<api.Deletion> {
    const { filter, lacking, preview } = checkedOptions(options, "an object with { filter } or { lacking }");
    const json = without({ filter, lacking, preview });
    return this.post(["collections", collection, "deletions"], options, { json });
  }

  // Label sets

  /** List the label sets of a collection, by name. */
  async labelSets(collection: string, options: CallOptions = {}): Promise<api.LabelSet[]> {
    const found = await this.get<api.Schemas["LabelSetList"]>(["collections", collection, "label-sets"], options);
    return found.label_sets;
  }

  /**
   * Create a label set, or change its definition: all images have its labels from then on. Throws an error of status
   * 409 if verdicts have labels that an image could not have any more, unless `dropVerdicts`.
   */
  async putLabelSet(
    collection: string,
    name: string,
    labels: readonly (string | { label: string; words?: readonly string[] })[],
    options: CallOptions & {
      kind?: "one" | "many";
      templates?: readonly string[] | string;
      minScore?: number | null;
      precision?: number | null;
      dropVerdicts?: boolean;
    } = {},
  ): Promise<api.PutLabelSet> {
    const { kind, templates, minScore, precision, dropVerdicts } = checkedOptions(options);
    const json = without({ labels, kind, templates, min_score: minScore, precision, drop_verdicts: dropVerdicts });
    return this.call("PUT", ["collections", collection, "label-sets", name], options, { json });
  }

  /** Return a label set, how many images have each label, and how far the model agrees with people. */
  labelSet(collection: string, name: string, options: CallOptions = {}): Promise<api.LabelSetReport> {
    return this.get(["collections", collection, "label-sets", name], options);
  }

  /** Delete a label set with its verdicts. */
  dropLabelSet(collection: string, name: string, options: CallOptions = {}): Promise<void> {
    return this.delete(["collections", collection, "label-sets", name], options);
  }

  /**
   * List at most `limit` (100) images with their labels, by id, beginning after the `next` of the page before: those
   * with a `label`, or with an empty one those without any. With `uncertainFirst`, those that nobody has reviewed, the
   * smallest margin first. With `contested`, those whose label somebody has changed that another key gave.
   */
  async labelledImages(
    collection: string,
    name: string,
    options: CallOptions & {
      label?: string | null;
      uncertainFirst?: boolean;
      contested?: boolean;
      after?: string | null;
      limit?: number;
    } = {},
  ): Promise<api.LabelledImagePage> {
    const { label, uncertainFirst, contested, after, limit } = checkedOptions(options);
    const query = { label, uncertain_first: uncertainFirst, contested, after, limit };
    return this.call("GET", ["collections", collection, "label-sets", name, "images"], options, { query });
  }

  /**
   * Return at most `limit` (20) images to review next: of each five, four with the smallest margin and one that is drawn
   * at random. Send `sha256` and `drawn` with the verdict.
   */
  async labelProposals(
    collection: string,
    name: string,
    options: CallOptions & { limit?: number } = {},
  ): Promise<api.LabelProposals> {
    const { limit } = checkedOptions(options);
    return this.call("GET", ["collections", collection, "label-sets", name, "proposals"], options, { query: { limit } });
  }

  /** Return the labels of all images, by id, as JSON Lines, or with the format "csv" as CSV. */
  async exportLabels(
    collection: string,
    name: string,
    options: CallOptions & { format?: "jsonl" | "csv"; label?: string | null } = {},
  ): Promise<Blob> {
    const { format, label } = checkedOptions(options);
    return this.blob(["collections", collection, "label-sets", name, "export"], options, { format, label });
  }

  /**
   * Say what the labels of images are; a `label` of null: none of these. All are stored, or none, but for those whose image
   * has other bytes than their `sha256`: `replaced` names these.
   */
  async giveVerdicts(
    collection: string,
    name: string,
    verdicts: readonly (({ id: string; label: string | null } | { id: string; labels: readonly string[] }) & {
      drawn?: boolean;
      sha256?: string | null;
    })[],
    options: CallOptions = {},
  ): Promise<api.GivenVerdicts> {
    const json = { verdicts };
    return this.post(["collections", collection, "label-sets", name, "verdicts"], options, { json });
  }

  /** Delete the verdict on an image and return it: the image has the labels of the model again. */
  withdrawVerdict(collection: string, name: string, id: string, options: CallOptions = {}): Promise<api.Verdict> {
    return this.call("DELETE", ["collections", collection, "label-sets", name, "verdicts", id], options);
  }

  // Jobs

  /** List the folders that the server was started with, and how far their scans are. */
  async libraries(options: CallOptions = {}): Promise<api.Library[]> {
    return this.list("libraries", options);
  }

  /**
   * Look for changes in a library now. Its state is "scanning" until the end. With `restoreDeleted`, pictures that were
   * deleted are added again, if their files are there.
   */
  scanLibrary(name: string, options: CallOptions & { restoreDeleted?: boolean } = {}): Promise<api.Library> {
    const query = { restore_deleted: checkedOptions(options).restoreDeleted };
    return this.call("POST", ["libraries", name, "scan"], options, { query });
  }

  /** List all jobs of the server, newest first. */
  async jobs(options: CallOptions = {}): Promise<api.Job[]> {
    return this.list("jobs", options);
  }

  /** Return the state of one job. */
  job(id: string, options: CallOptions = {}): Promise<api.Job> {
    return this.get(["jobs", id], options);
  }

  /** Cancel a job. Finished items stay, the others are not tried. A job that has ended does not change. */
  async cancelJob(id: string, options: CallOptions = {}): Promise<api.Job> {
    return this.call("DELETE", ["jobs", id], options);
  }

  /** Return the known outcomes of the items after index `after`, in order. */
  async jobOutcomes(id: string, options: CallOptions & { after?: number; limit?: number } = {}): Promise<api.JobPage> {
    const { after, limit } = checkedOptions(options);
    const query = { after, limit };
    return this.call("GET", ["jobs", id, "outcomes"], options, { query });
  }

  /**
   * Follow a job by server-sent events: an `outcome` of each image in order, `progress`, and finally `end`. After a lost
   * connection it goes on behind the last outcome.
   *
   * @example
   * for await (const event of client.jobEvents(job.id)) {
   *   if (event.type === "outcome") console.log(event.outcome.file, event.outcome.status);
   *   else console.log(`${event.job.n_done} of ${event.job.n_items}`);
   * }
   */
  jobEvents(id: string, options: JobEventsOptions = {}): AsyncGenerator<JobEvent, void, undefined> {
    return jobEvents(this.transport, id, options);
  }

  /** Wait for the end of a job: its `state` says how it ended. */
  followJob(id: string, options: FollowJobOptions = {}): Promise<api.Job> {
    return followJob(this.transport, id, options);
  }

  // Models and rollouts

  /** List the models of the repository. The served one has an `active` version. */
  async models(options: CallOptions = {}): Promise<api.ModelSummary[]> {
    return this.list("models", options);
  }

  /** Return all versions of a model. */
  model(name: string, options: CallOptions = {}): Promise<api.ModelVersions> {
    return this.get(["models", name], options);
  }

  /** Return one version of a model with its manifest: parity, metrics, preprocessing. */
  modelVersion(name: string, version: number, options: CallOptions = {}): Promise<api.ModelVersion> {
    return this.get(["models", name, "versions", version], options);
  }

  /** Return the model card of a version, as Markdown. The error has status 404 if the version has none. */
  async modelCard(name: string, version: number, options: CallOptions = {}): Promise<string> {
    return (await this.blob(["models", name, "versions", version, "card"], options)).text();
  }

  /** Return a picture or Markdown file that the model card of a version shows. */
  modelCardFile(name: string, version: number, file: string, options: CallOptions = {}): Promise<Blob> {
    return this.blob(["models", name, "versions", version, "card", file], options);
  }

  /**
   * Publish a model version as the next one of `name`: an uncompressed tar archive of `manifest.json` and the files that it
   * lists. A version that the server has already is found again, so repeat an interrupted call.
   */
  async pushModel(name: string, archive: Blob, options: UploadOptions = {}): Promise<api.PushedVersion> {
    return this.post(["models", name, "versions"], options, upload(archive, options));
  }

  /** The `models`, the `policy` of moving, the `previous` version if one is kept, and the `rollout` under way. */
  rolloutStatus(options: CallOptions = {}): Promise<api.ModelList> {
    return this.get(["models"], options);
  }

  /**
   * Start a rollout of the server to a version; an older one is activated in the same way. Until it has ended, what serves
   * now serves on. `precision` is that of all vectors from then on; without it the server takes the one that it has recorded,
   * if the version has it. A rollout to a version that agrees less with people on their label sets fails, unless
   * `despiteLabels` is true.
   *
   * @example
   * const { id } = await client.activate("mine", 4);
   * const rollout = await client.waitForRollout(id, { onProgress: ({ state }) => console.log(state) });
   */
  async activate(
    name: string,
    version: number,
    options: CallOptions & { precision?: string; despiteLabels?: boolean } = {},
  ): Promise<api.Rollout> {
    const { precision, despiteLabels } = checkedOptions(options);
    const json = without({ precision, despite_labels: despiteLabels || undefined });
    return this.post(["models", name, "versions", version, "activate"], options, { json });
  }

  /** Start a rollout back to the version that served before. Throws an error of status 404 if none is kept. */
  async rollback(options: CallOptions = {}): Promise<api.Rollout> {
    const { previous } = await this.rolloutStatus(options);
    if (!previous)
      throw new DiptychError("api", { status: 404, detail: "the server keeps no version to go back to" });
    const { name, version, precision } = previous;
    return this.activate(name, version, { ...options, precision, despiteLabels: true });
  }

  /** List the newest rollouts, newest first. */
  async rollouts(options: CallOptions & { limit?: number } = {}): Promise<api.Rollout[]> {
    return this.list("rollouts", options, { limit: checkedOptions(options).limit });
  }

  /** Return the state and the progress of one rollout. */
  rollout(id: string, options: CallOptions = {}): Promise<api.Rollout> {
    return this.get(["rollouts", id], options);
  }

  /** Wait for the end of a rollout: its `state` is then "active", "failed" or "cancelled". */
  async waitForRollout(
    id: string,
    options: CallOptions & {
      /** Called twice a second. */
      onProgress?: (rollout: api.Rollout) => void;
    } = {},
  ): Promise<api.Rollout> {
    checkedOptions(options);
    for (;;) {
      const rollout = await this.rollout(id, options);
      options.onProgress?.(rollout);
      if (ENDED.includes(rollout.state)) return rollout;
      await pause(POLL_S, options.signal);
    }
  }

  /** Cancel a rollout: what served before serves on. */
  cancelRollout(id: string, options: CallOptions = {}): Promise<api.Rollout> {
    return this.call("DELETE", ["rollouts", id], options);
  }

  /**
   * Compare the searches of two versions, in all collections that have vectors of both, or in one of them. `oldName`: the
   * model of the old version, if it has another name.
   */
  async compareVersions(
    name: string,
    oldVersion: number,
    newVersion: number,
    options: CallOptions & { oldName?: string; collection?: string } = {},
  ): Promise<api.Comparison> {
    const { oldName, collection } = checkedOptions(options);
    const query = { against: oldVersion, against_model: oldName, collection };
    return this.call("GET", ["models", name, "versions", newVersion, "comparison"], options, { query });
  }

  // Keys

  /** List the API keys of the server, oldest first, without their tokens. */
  async keys(options: CallOptions = {}): Promise<api.ApiKey[]> {
    return this.list("keys", options);
  }

  /**
   * Make an API key. `key` of the result is what callers send; it cannot be shown again. With `collections` the key sees
   * only these.
   *
   * @example
   * const { key } = await client.createKey("web page", "read", { collections: ["pets"] });
   */
  async createKey(
    name: string,
    scope: api.KeyScope = "read",
    options: CallOptions & { collections?: readonly string[]; expiresAt?: Date } = {},
  ): Promise<api.CreatedKey> {
    const { collections, expiresAt } = checkedOptions(options);
    if (collections !== undefined && collections !== null) checkTexts("collections", collections);
    if (expiresAt !== undefined && expiresAt !== null && !(expiresAt instanceof Date && !Number.isNaN(expiresAt.valueOf())))
      throw wrongArgument("expiresAt", "a valid Date", expiresAt);
    const json = without({ name, scopes: [scope], collections, expires_at: expiresAt?.toISOString() });
    return this.post(["keys"], options, { json, repeatable: false });
  }

  /** Revoke the API key with this prefix: no later call is accepted with it. */
  async revokeKey(prefix: string, options: CallOptions = {}): Promise<void> {
    await this.delete(["keys", prefix], options);
  }

  // The server

  /** Return the version of the server, its model, its limits and its default collection. */
  version(options: CallOptions = {}): Promise<api.ServerVersion> {
    return this.get(["version"], options);
  }

  /** Return whether the server is ready for requests. Does not throw if it is not ready. */
  async ready(options: CallOptions = {}): Promise<Readiness> {
    try {
      await this.call("GET", ["readyz"], options, { repeatable: false });
      return { ready: true, detail: "" };
    } catch (error) {
      if (error instanceof DiptychError && error.status === 503) return { ready: false, detail: error.detail };
      throw error;
    }
  }

  /** Resolve if the server runs, whether it is ready or not. */
  async health(options: CallOptions = {}): Promise<void> {
    await this.get(["healthz"], options);
  }

  /** Return the metrics of the server as Prometheus reads them. */
  async metrics(options: CallOptions = {}): Promise<string> {
    return (await this.blob(["metrics"], options)).text();
  }

  private async call<T>(
    method: HttpRequest["method"],
    path: HttpRequest["path"],
    options: CallOptions,
    more: Partial<HttpRequest> = {},
  ): Promise<T> {
    const { signal } = checkedOptions(options);
    return this.transport.json({ method, path, signal, ...more });
  }

  /** Return the list that an answer has by the name of its path. */
  private async list<T>(name: string, options: CallOptions, query: HttpRequest["query"] = {}): Promise<T[]> {
    const { signal } = checkedOptions(options);
    return this.transport.json({ method: "GET", path: [name], query, signal }, (answer: Record<string, unknown>) => {
      if (!Array.isArray(answer[name])) throw new TypeError(`it has no list of ${name}`);
      return answer[name] as T[];
    });
  }

  private get<T>(path: HttpRequest["path"], options: CallOptions): Promise<T> {
    return this.call("GET", path, options);
  }

  private post<T>(path: HttpRequest["path"], options: CallOptions, more: Partial<HttpRequest>): Promise<T> {
    return this.call("POST", path, options, more);
  }

  private async delete(path: HttpRequest["path"], options: CallOptions): Promise<void> {
    const { signal } = checkedOptions(options);
    await this.transport.send({ method: "DELETE", path, signal });
  }

  private async blob(
    path: HttpRequest["path"],
    options: CallOptions,
    query: HttpRequest["query"] = {},
  ): Promise<Blob> {
    const { signal } = checkedOptions(options);
    return (await this.transport.send({ method: "GET", path, query, signal })).body;
  }
}

function upload(archive: Blob, options: UploadOptions): Partial<HttpRequest> {
  const { onUploadProgress } = checkedOptions(options);
  if (!(archive instanceof Blob))
    throw wrongArgument("archive", "a Blob; fileBlob() of diptych-client/node opens files", archive);
  const onSent = onUploadProgress && ((sentBytes: number, totalBytes: number) => onUploadProgress({ sentBytes, totalBytes }));
  return { body: archive, contentType: TAR, onSent };
}

function defaultUrl(): string | URL {
  if (typeof document !== "undefined") return new URL(".", document.baseURI);
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.["DIPTYCH_URL"] || DEFAULT_URL;
}
