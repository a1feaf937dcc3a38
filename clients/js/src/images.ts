/** Images as callers give them, in bounded batches. */

import { isBinary, wrongArgument } from "./checks.js";
import { DiptychError } from "./errors.js";

/** The bytes of an image file, in any format that the server decodes. */
export type ImageBytes = Blob | ArrayBuffer | ArrayBufferView;

/** An image: its bytes (a `File` is a `Blob`), or a function that reads them when their turn comes. */
export type ImageInput = ImageBytes | (() => ImageBytes | Promise<ImageBytes>);

/** An image, or the `https:` URL of one that the server fetches, if image URLs are turned on there. */
export type ImageSource = ImageInput | URL;

export const MAX_BATCH_IMAGES = 64;
/** A third of the server's default limit of a body. A larger image is sent alone. */
export const MAX_BATCH_BYTES = 32_000_000;

/** The `index`-th image of a call. */
export interface Loaded<T> {
  index: number;
  item: T;
  /** Its bytes in memory, or why they cannot be read. */
  bytes: Blob | DiptychError;
}

const BYTES = "a Blob, an ArrayBuffer or a typed array; imageFile() of diptych-client/node reads files";

/** Throw if a value is no image, as far as that is known before it is read. */
export function checkImage(name: string, image: unknown, takesUrl: boolean): void {
  if (isBinary(image) || typeof image === "function" || (takesUrl && image instanceof URL)) return;
  throw wrongArgument(name, BYTES, image);
}

/** Read an image into memory. Throws an `unreadable` error, or `invalid-call` for what is no image. */
export async function load(image: ImageInput, name: string): Promise<Blob> {
  let bytes: ImageBytes;
  try {
    bytes = typeof image === "function" ? await image() : image;
    if (bytes instanceof Blob) return new Blob([await bytes.arrayBuffer()]);
  } catch (error) {
    if (error instanceof DiptychError && error.kind === "aborted") throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new DiptychError("unreadable", { item: name, detail: `cannot be read: ${reason}`, cause: error });
  }
  if (!isBinary(bytes)) throw wrongArgument(name, BYTES, bytes);
  return new Blob([bytes as BufferSource]);
}

/** Yield items with their images in batches with limits in number and in bytes. Holds one batch, and one image more. */
export async function* batches<T>(
  items: Iterable<T> | AsyncIterable<T>,
  imageOf: (item: T, index: number) => ImageInput,
  onUnreadable: "throw" | "yield",
  start = 0,
): AsyncGenerator<Loaded<T>[], void, undefined> {
  let batch: Loaded<T>[] = [];
  let nBytes = 0;
  let index = start;
  for await (const item of items) {
    const bytes = await load(imageOf(item, index), `images[${index}]`).catch((error: unknown) => {
      if (onUnreadable === "yield" && error instanceof DiptychError && error.kind === "unreadable") return error;
      throw error;
    });
    const size = bytes instanceof Blob ? bytes.size : 0;
    if (batch.length === MAX_BATCH_IMAGES || (batch.length > 0 && nBytes + size > MAX_BATCH_BYTES)) {
      yield batch;
      batch = [];
      nBytes = 0;
    }
    batch.push({ index, item, bytes });
    nBytes += size;
    index++;
  }
  if (batch.length > 0) yield batch;
}

/** Write an image as the API takes it in JSON: a data URI, or the URL itself. */
export async function imageJson(image: ImageSource, name: string): Promise<string> {
  if (image instanceof URL) return image.href;
  return `data:application/octet-stream;base64,${base64(new Uint8Array(await (await load(image, name)).arrayBuffer()))}`;
}

export function base64(bytes: Uint8Array): string {
  let binary = "";
  for (let start = 0; start < bytes.length; start += 0x8000)
    binary += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  return btoa(binary);
}

/** Decode base64 of little-endian float32 numbers. */
export function floats(text: string): Float32Array {
  const binary = atob(text);
  const view = new DataView(Uint8Array.from(binary, (character) => character.charCodeAt(0)).buffer);
  return Float32Array.from({ length: binary.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

/** Encode a vector as little-endian float32 numbers. Throws for what is none; `name` is what the caller calls it. */
export function floatBytes(name: string, vector: ArrayLike<number>): ArrayBuffer {
  checkVector(name, vector);
  const view = new DataView(new ArrayBuffer(4 * vector.length));
  for (let i = 0; i < vector.length; i++) {
    const number: unknown = vector[i];
    if (typeof number !== "number") throw wrongArgument(`${name}[${i}]`, "a number", number);
    view.setFloat32(4 * i, number, true);
  }
  return view.buffer;
}

/** Throw if a value is neither a list nor a typed array. */
export function checkVector(name: string, vector: unknown): void {
  if (!Array.isArray(vector) && !(ArrayBuffer.isView(vector) && !(vector instanceof DataView)))
    throw wrongArgument(name, "a list of numbers or a Float32Array", vector);
}
