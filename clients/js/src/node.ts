/** Files of this machine, for programs that run in Node. Browsers give files themselves. */

import { openAsBlob } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";

import type { AddItem } from "./adding.js";
import type { ImageInput } from "./images.js";

const IMAGES = /\.(avif|bmp|gif|heic|heif|jpe?g|png|tiff?|webp)$/i;

/**
 * An image from a file, which is read when its turn comes.
 *
 * @example
 * await client.classify([imageFile("cat.png")], ["a cat", "a dog"]);
 */
export function imageFile(path: string | URL): ImageInput {
  return async () => new Uint8Array(await readFile(path));
}

/**
 * The images in a folder and the folders in it, to be added, in the order of their names. Their paths within the folder
 * become `file` of their metadata.
 *
 * @example
 * await client.add(imageFiles("holiday"), { collection: "holiday" });
 */
export async function* imageFiles(folder: string): AsyncGenerator<AddItem, void, undefined> {
  const names = await readdir(folder, { recursive: true });
  const isImage = (name: string): boolean => IMAGES.test(name) && !basename(name).startsWith(".");
  for (const name of names.filter(isImage).sort()) yield { image: imageFile(join(folder, name)), metadata: { file: name } };
}

/**
 * A file of any size, such as a tar archive for `addTar`, that is read while it is sent.
 *
 * @example
 * const job = await client.addTar(await fileBlob("holiday.tar"), { collection: "holiday" });
 */
export function fileBlob(path: string | URL): Promise<Blob> {
  return openAsBlob(path);
}
