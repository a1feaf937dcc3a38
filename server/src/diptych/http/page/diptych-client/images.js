import { DiptychError, invalidCall } from "./errors.js";
export const MAX_BATCH_IMAGES = 64;
export const MAX_BATCH_BYTES = 32_000_000;
export async function load(image, name) {
    let bytes;
    try {
        bytes = typeof image === "function" ? await image() : image;
        if (bytes instanceof Blob)
            return new Blob([await bytes.arrayBuffer()]);
    }
    catch (error) {
        if (error instanceof DiptychError && error.kind === "aborted")
            throw error;
        const reason = error instanceof Error ? error.message : String(error);
        throw new DiptychError("unreadable", { item: name, detail: `cannot be read: ${reason}`, cause: error });
    }
    if (bytes instanceof ArrayBuffer || ArrayBuffer.isView(bytes))
        return new Blob([bytes]);
    throw invalidCall(`${name} must be a Blob, an ArrayBuffer or a typed array; imageFile() of diptych-client/node reads files`);
}
export async function* batches(items, imageOf, onUnreadable, start = 0) {
    let batch = [];
    let nBytes = 0;
    let index = start;
    for await (const item of items) {
        const bytes = await load(imageOf(item), `images[${index}]`).catch((error) => {
            if (onUnreadable === "yield" && error instanceof DiptychError && error.kind === "unreadable")
                return error;
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
    if (batch.length > 0)
        yield batch;
}
export async function imageJson(image, name) {
    if (image instanceof URL)
        return image.href;
    return `data:application/octet-stream;base64,${base64(new Uint8Array(await (await load(image, name)).arrayBuffer()))}`;
}
export function base64(bytes) {
    let binary = "";
    for (let start = 0; start < bytes.length; start += 0x8000)
        binary += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
    return btoa(binary);
}
export function floats(text) {
    const binary = atob(text);
    const view = new DataView(Uint8Array.from(binary, (character) => character.charCodeAt(0)).buffer);
    return Float32Array.from({ length: binary.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}
export function floatBytes(numbers) {
    const view = new DataView(new ArrayBuffer(4 * numbers.length));
    for (let i = 0; i < numbers.length; i++)
        view.setFloat32(4 * i, numbers[i], true);
    return view.buffer;
}
