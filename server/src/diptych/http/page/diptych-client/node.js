import { constants, openAsBlob } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileMetadata } from "./adding.js";
const IMAGES = /\.(avif|bmp|gif|heic|heif|jpe?g|png|tiff?|webp)$/i;
export function imageFile(path) {
    return async () => {
        const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
        try {
            if (!(await file.stat()).isFile())
                throw new Error(`${path} is not a regular file`);
            return new Uint8Array(await file.readFile());
        }
        finally {
            await file.close();
        }
    };
}
export async function* imageFiles(folder) {
    const names = await readdir(folder, { recursive: true });
    const isImage = (name) => IMAGES.test(name) && !basename(name).startsWith(".");
    for (const name of names.filter(isImage).sort()) {
        const path = join(folder, name);
        const modified = await stat(path).then(({ mtimeMs }) => mtimeMs, () => undefined);
        yield { image: imageFile(path), metadata: { file: fileMetadata(name, modified) } };
    }
}
export function fileBlob(path) {
    return openAsBlob(path);
}
