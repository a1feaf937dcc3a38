import { openAsBlob } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
const IMAGES = /\.(avif|bmp|gif|heic|heif|jpe?g|png|tiff?|webp)$/i;
export function imageFile(path) {
    return async () => new Uint8Array(await readFile(path));
}
export async function* imageFiles(folder) {
    const names = await readdir(folder, { recursive: true });
    const isImage = (name) => IMAGES.test(name) && !basename(name).startsWith(".");
    for (const name of names.filter(isImage).sort())
        yield { image: imageFile(join(folder, name)), metadata: { file: name } };
}
export function fileBlob(path) {
    return openAsBlob(path);
}
