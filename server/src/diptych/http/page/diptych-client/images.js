import { isBinary, wrongArgument } from "./checks.js";
import { DiptychError } from "./errors.js";
export const MAX_BATCH_IMAGES = 64;
export const MAX_BATCH_BYTES = 32_000_000;
const BYTES = "a Blob, an ArrayBuffer or a typed array; imageFile() of diptych-client/node reads files";
export function checkImage(name, image, takesUrl) {
    if (isBinary(image) || typeof image === "function" || (takesUrl && image instanceof URL))
        return;
    throw wrongArgument(name, BYTES, image);
}
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
    if (!isBinary(bytes))
        throw wrongArgument(name, BYTES, bytes);
    return new Blob([bytes]);
}
export async function* batches(items, imageOf, onUnreadable, start = 0) {
    let batch = [];
    let nBytes = 0;
    let index = start;
    for await (const item of items) {
        const bytes = await load(imageOf(item, index), `images[${index}]`).catch((error) => {
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
export function floatBytes(name, vector) {
    checkVector(name, vector);
    const view = new DataView(new ArrayBuffer(4 * vector.length));
    for (let i = 0; i < vector.length; i++) {
        const number = vector[i];
        if (typeof number !== "number")
            throw wrongArgument(`${name}[${i}]`, "a number", number);
        view.setFloat32(4 * i, number, true);
    }
    return view.buffer;
}
export function checkVector(name, vector) {
    if (!Array.isArray(vector) && !(ArrayBuffer.isView(vector) && !(vector instanceof DataView)))
        throw wrongArgument(name, "a list of numbers or a Float32Array", vector);
}
