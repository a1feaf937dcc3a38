/** `embed` and `classify`: any number of texts and images, in requests of limited size. */

import { checkedOptions, checkList, checkObject, checkTexts } from "./checks.js";
import { DiptychError, invalidCall } from "./errors.js";
import { batches, checkImage, floats, MAX_BATCH_IMAGES, type ImageInput, type ImageSource } from "./images.js";
import { toJson, type CallOptions, type HttpRequest, type Transport } from "./transport.js";
import type { Classification, ModelRef } from "./types.js";
import type { components } from "./schema.js";

/** Texts, embeddings or ids of one request. */
const MAX_ITEMS = 256;

/** What to embed. */
export interface EmbedInput {
  texts?: readonly string[];
  images?: readonly ImageSource[];
}

/** The embedding of one text or image: `embed_dim` numbers of unit norm. */
export interface EmbeddedItem {
  embedding: Float32Array;
  /** Whether the text was longer than the model reads. */
  truncated: boolean;
}

/** The embeddings of one call, in the order of its arguments. */
export interface Embeddings {
  model: ModelRef;
  texts: EmbeddedItem[];
  images: EmbeddedItem[];
}

/** Options of `classify`. */
export interface ClassifyOptions extends CallOptions {
  /** A sentence with one `{}` in place of the label. */
  template?: string;
  /** Several sentences, whose text embeddings are averaged, or the name of a set of the model. */
  templates?: readonly string[] | string;
  /** Score each label by itself; otherwise the scores of an image sum to 1. */
  multiLabel?: boolean;
  /** Only so many labels of each image. */
  topK?: number;
}

export async function embed(transport: Transport, input: EmbedInput, options: CallOptions): Promise<Embeddings> {
  const { signal } = checkedOptions(options);
  checkObject("the argument of embed", "an object { texts, images }", input);
  const { texts = [], images = [] } = input;
  checkTexts("texts", texts);
  checkImages(images);
  if (texts.length === 0 && images.length === 0) throw invalidCall("embed needs texts or images");
  const sent = new SameModel();
  const post = async (name: string, start: number, body: Partial<HttpRequest>): Promise<EmbeddedItem[]> => {
    const request = { method: "POST", path: ["embed"], signal, ...body } as const;
    const read = ({ model, data }: components["schemas"]["EmbedResponse"]): EmbeddedItem[] => {
      sent.check(model);
      return data.map((row) => ({ embedding: floats(row.embedding as string), truncated: row.truncated }));
    };
    return renamed(name, start, transport.json(request, read));
  };
  const result = { texts: [] as EmbeddedItem[], images: [] as EmbeddedItem[] };
  for (let start = 0; start < texts.length; start += MAX_ITEMS) {
    const items = texts.slice(start, start + MAX_ITEMS).map((text) => ({ text }));
    const json = { input: items, encoding_format: "base64" };
    result.texts.push(...(await post("texts", start, { json })));
  }
  for await (const { start, files, urls } of sourceBatches(images)) {
    if (files.length > 0) files.push(["encoding_format", "base64"]);
    const json = { input: urls.map((image) => ({ image })), encoding_format: "base64" };
    result.images.push(...(await post("images", start, urls.length > 0 ? { json } : { body: form(files) })));
  }
  return { model: sent.model, ...result };
}

export async function classify(
  transport: Transport,
  images: readonly ImageSource[],
  labels: readonly string[],
  options: ClassifyOptions,
): Promise<Classification> {
  checkedOptions(options);
  checkImages(images);
  if (images.length === 0) throw invalidCall("classify needs at least one image");
  const fields = classifyFields(labels, options);
  const sent = new SameModel();
  const data: Classification["data"] = [];
  let warnings: Classification["warnings"] = [];  // of the labels, so the same in every answer
  for await (const { start, files, urls } of sourceBatches(images)) {
    // A list is one JSON value, since form parsers limit fields.
    for (const [name, value] of Object.entries(fields))
      files.push([name, typeof value === "string" ? value : toJson(name, value)]);
    const body = urls.length > 0 ? { json: { images: urls, ...fields } } : { body: form(files) };
    const request = { method: "POST", path: ["classify"], signal: options.signal, ...body } as const;
    const answer = await renamed("images", start, transport.json(request, sent.classified(start)));
    data.push(...answer.data);
    warnings = answer.warnings;
  }
  return { model: sent.model, data, warnings };
}

/** Classify embeddings, or images of collections, as the API's items; in errors they are called `name`. */
export async function classifyItems(
  transport: Transport,
  name: string,
  items: readonly object[],
  labels: readonly string[],
  options: ClassifyOptions & { model?: ModelRef },
): Promise<Classification> {
  if (items.length === 0) throw invalidCall(`${name} needs at least one`);
  const fields = without({ ...classifyFields(labels, options), model: options.model });
  const sent = new SameModel();
  const data: Classification["data"] = [];
  let warnings: Classification["warnings"] = [];  // of the labels, so the same in every answer
  for (let start = 0; start < items.length; start += MAX_ITEMS) {
    const json = { images: items.slice(start, start + MAX_ITEMS), ...fields };
    const request = { method: "POST", path: ["classify"], signal: options.signal, json } as const;
    const answer = await renamed(name, start, transport.json(request, sent.classified(start)));
    data.push(...answer.data);
    warnings = answer.warnings;
  }
  return { model: sent.model, data, warnings };
}

function classifyFields(labels: readonly string[], options: ClassifyOptions) {
  checkTexts("labels", labels);
  return without({
    labels,
    template: options.template,
    templates: options.templates,
    multi_label: options.multiLabel || undefined,
    top_k: options.topK,
  });
}

/** Leave out what is undefined or null. */
export function without<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== null)) as Partial<T>;
}

/** Write a form. Names of files are not sent. */
export function form(fields: readonly (readonly [string, string | Blob])[]): FormData {
  const body = new FormData();
  for (const [name, value] of fields)
    if (typeof value === "string") body.append(name, value);
    else body.append(name, value, "image");
  return body;
}

function checkImages(images: readonly ImageSource[]): void {
  checkList("images", "images", images);
  for (const [i, image] of images.entries()) checkImage(`images[${i}]`, image, true);
}

interface SourceBatch {
  /** Place of its first image in the call. */
  start: number;
  files: [string, string | Blob][];
  urls: string[];
}

/** Yield images in order, in batches of only files or only URLs, which need different kinds of body. */
async function* sourceBatches(images: readonly ImageSource[]): AsyncGenerator<SourceBatch, void, undefined> {
  let start = 0;
  while (start < images.length) {
    const isUrl = images[start] instanceof URL;
    let end = start + 1;
    while (end < images.length && images[end] instanceof URL === isUrl) end++;
    const run = images.slice(start, end);
    if (isUrl) {
      for (let i = 0; i < run.length; i += MAX_BATCH_IMAGES) {
        const urls = run.slice(i, i + MAX_BATCH_IMAGES).map((url) => (url as URL).href);
        yield { start: start + i, files: [], urls };
      }
    } else {
      for await (const batch of batches(run as ImageInput[], (image) => image, "throw", start)) {
        const first = batch[0]?.index ?? start;
        yield { start: first, files: batch.map(({ bytes }) => ["image", bytes as Blob]), urls: [] };
      }
    }
    start = end;
  }
}

/** Rename the item in an error to its place in the whole call: `input[3]` becomes `images[67]`. */
async function renamed<T>(name: string, start: number, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const match = error instanceof DiptychError ? /^(?:input|images)\[(\d+)\](.*)$/.exec(error.item ?? "") : null;
    if (match === null) throw error;
    throw (error as DiptychError).withItem(`${name}[${start + Number(match[1])}]${match[2]}`);
  }
}

/** The model of a call: the same in all of its answers. */
class SameModel {
  private found: ModelRef | null = null;

  get model(): ModelRef {
    if (this.found === null) throw invalidCall("nothing was sent");
    return this.found;
  }

  /** Return a reader of the labels of the items from place `start` on, which checks their model. */
  classified(start: number): (answer: Classification) => Classification {
    return ({ model, data, warnings = [] }) => {  // older servers warn of nothing
      this.check(model);
      return { model, data: data.map((row) => ({ ...row, index: start + row.index })), warnings };
    };
  }

  /** Throw a `version-changed` error if an earlier answer had another model. */
  check(model: ModelRef): void {
    if (this.found !== null && shown(this.found) !== shown(model)) {
      const detail = `the server moved from ${shown(this.found)} to ${shown(model)} during the call: repeat it`;
      throw new DiptychError("version-changed", { detail });
    }
    this.found = model;
  }
}

function shown({ name, version, precision, decode }: ModelRef): string {
  return `${name}/${version} (${precision}, ${decode} decoding)`;
}
