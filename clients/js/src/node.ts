/** Files of this machine, for programs that run in Node. Browsers give files themselves. */

import { constants, openAsBlob } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";

import { fileMetadata, type AddItem } from "./adding.js";
import type { ImageInput } from "./images.js";

const IMAGES = /\.(avif|bmp|gif|heic|heif|jpe?g|png|tiff?|webp)$/i;

/**
 * An image from a regular file, which is read when its turn comes. A device or a pipe fails: it may never end.
 *
 * @example
 * await client.classify([imageFile("cat.png")], ["a cat", "a dog"]);
 */
export function imageFile(path: string | URL): ImageInput {
  return async () => {
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)); // opening a pipe would wait
    try {
      if (!(await file.stat()).isFile()) throw new Error(`${path} is not a regular file`);
      return new Uint8Array(await file.readFile());
    } finally {
      await file.close();
    }
  };
}

/**
 * The images in a folder and the folders in it, to be added, in the order of their names. Their metadata has `file`:
 * name, folder within this one, and when it was modified.
 *
 * @example
 * await client.add(imageFiles("holiday"), { collection: "holiday" });
 */
export async function* imageFiles(folder: string): AsyncGenerator<AddItem, void, undefined> {
  const names = await readdir(folder, { recursive: true });
  const isImage = (name: string): boolean => IMAGES.test(name) && !basename(name).startsWith(".");
  for (const name of names.filter(isImage).sort()) {
    const path = join(folder, name);
    const modified = await stat(path).then(({ mtimeMs }) => mtimeMs, () => undefined); // reading it will say why
    yield { image: imageFile(path), metadata: { file: fileMetadata(name, modified) } };
  }
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
