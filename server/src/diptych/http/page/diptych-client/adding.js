import { checkedOptions, checkIterable, checkObject, checkTexts } from "./checks.js";
import { form } from "./encoding.js";
import { DiptychError, invalidCall, problemError, unexpected } from "./errors.js";
import { batches, checkImage, checkVector, floatBytes } from "./images.js";
import { toJson } from "./transport.js";
export function fileMetadata(path, modified) {
    const end = path.lastIndexOf("/");
    const place = { name: path.slice(end + 1), folder: path.slice(0, Math.max(end, 0)) || "." };
    return modified === undefined ? place : { ...place, modified: `${new Date(modified).toISOString().slice(0, 19)}Z` };
}
const CONTENT_ID_DIGITS = 32;
const MAX_VECTORS = 1000;
const FAILED = { id: null, status: "failed", metadata_differs: false };
const ADD_ITEM = "an object { image, id, metadata }";
const VECTOR_ITEM = "an object { vector, id, metadata }";
export async function add(transport, items, options) {
    checkedOptions(options);
    checkIterable("items", "objects { image, id, metadata }", items);
    if (Array.isArray(items))
        for (const [i, item] of items.entries())
            checkAddItem(item, i);
    const { collection = await defaultCollection(transport, options) } = options;
    const call = new AddCall(transport, collection, options, totalBytes(items));
    let nItems = Array.isArray(items) ? items.length : null;
    const outcomes = [];
    let nFailed = 0;
    for await (const batch of batches(items, checkAddItem, "yield")) {
        const found = await call.addBatch(batch);
        for (const outcome of found) {
            outcomes.push(outcome);
            if (outcome.status === "failed")
                nFailed++;
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
export async function defaultCollection(transport, { signal }) {
    const request = { method: "GET", path: ["version"], signal };
    return transport.json(request, (version) => version.default_collection);
}
function checkAddItem(item, index) {
    checkObject(`items[${index}]`, ADD_ITEM, item);
    checkImage(`items[${index}].image`, item.image, false);
    return item.image;
}
function totalBytes(items) {
    if (!Array.isArray(items))
        return null;
    let total = 0;
    for (const { image } of items) {
        if (typeof image === "function")
            return null;
        total += image instanceof Blob ? image.size : image.byteLength;
    }
    return total;
}
class AddCall {
    transport;
    collection;
    options;
    totalBytes;
    sentBytes = 0;
    reportedBytes = -1;
    constructor(transport, collection, options, totalBytes) {
        this.transport = transport;
        this.collection = collection;
        this.options = options;
        this.totalBytes = totalBytes;
    }
    async addBatch(batch) {
        const outcomes = [];
        let readable = [];
        for (const loaded of batch)
            if (loaded.bytes instanceof Blob)
                readable.push(loaded);
            else
                outcomes.push({ index: loaded.index, ...FAILED, error: loaded.bytes.withItem(null) });
        if (this.options.skipKnown && readable.length > 0) {
            const unchanged = await this.unchanged(readable);
            const known = new Set(unchanged.map(({ index }) => index));
            outcomes.push(...unchanged);
            for (const { index, bytes } of readable)
                if (known.has(index))
                    this.count(bytes.size);
            readable = readable.filter(({ index }) => !known.has(index));
        }
        if (readable.length > 0)
            outcomes.push(...(await this.send(readable)));
        return outcomes.sort((one, other) => one.index - other.index);
    }
    async unchanged(batch) {
        const named = await Promise.all(batch.map(async ({ index, item, bytes }) => {
            const sha256 = await sha256Of(bytes);
            return { index, sha256, id: item.id ?? sha256.slice(0, CONTENT_ID_DIGITS), metadata: item.metadata };
        }));
        const ids = [...new Set(named.map(({ id }) => id))];
        const records = await lookUp(this.transport, this.collection, ids, this.options);
        const outcomes = [];
        for (const { index, sha256, id, metadata } of named) {
            const record = records.get(id);
            if (record === undefined || record.sha256 !== sha256 || record.referenced)
                continue;
            if (this.options.replace && metadata !== undefined && !sameJson(metadata, record.metadata))
                continue;
            const differs = metadata !== undefined && lacks(record.metadata, metadata);
            outcomes.push({ index, id, status: "unchanged", error: null, metadata_differs: differs });
        }
        return outcomes;
    }
    async send(batch) {
        const before = this.sentBytes;
        try {
            return await this.request(batch);
        }
        catch (error) {
            if (!(error instanceof DiptychError) || !concernsOneItem(error))
                throw error;
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
    async request(batch) {
        const fields = batch.map(({ bytes }) => ["image", bytes]);
        if (batch.some(({ item }) => item.id !== undefined || item.metadata !== undefined)) {
            const items = batch.map(({ item: { id, metadata } }) => ({ id, metadata }));
            fields.push(["items", toJson("metadata", items)]);
        }
        const before = this.sentBytes;
        const size = sizeOf(batch);
        const counted = this.options.onUploadProgress !== undefined;
        const request = {
            method: "POST",
            path: ["collections", this.collection, "images"],
            query: { replace: this.options.replace || undefined },
            body: form(fields),
            signal: this.options.signal,
            onSent: counted ? (sent, total) => this.report(before + Math.round((size * sent) / total)) : undefined,
        };
        const indexes = batch.map(({ index }) => index);
        const outcomes = await this.transport.json(request, (answer) => outcomesOf(answer, indexes));
        this.report(before + size);
        return outcomes;
    }
    count(bytes) {
        this.report(this.sentBytes + bytes);
    }
    report(sentBytes) {
        this.sentBytes = sentBytes;
        if (sentBytes === this.reportedBytes)
            return;
        this.reportedBytes = sentBytes;
        this.options.onUploadProgress?.({ sentBytes, totalBytes: this.totalBytes });
    }
}
export async function lookUp(transport, collection, ids, options) {
    const { signal } = checkedOptions(options);
    checkTexts("ids", ids);
    const path = ["collections", collection, "lookups"];
    const request = { method: "POST", path, json: { ids }, signal };
    const read = ({ images }) => new Map(images.map((image) => [image.id, image]));
    return transport.json(request, read);
}
export async function addVectors(transport, items, options) {
    checkedOptions(options, "an object with { model }");
    checkObject("model", "an object { name, version, precision, decode }", options.model);
    checkIterable("items", "objects { vector, id, metadata }", items);
    if (Array.isArray(items))
        for (const [i, item] of items.entries())
            checkVectorItem(item, i);
    const { collection = await defaultCollection(transport, options), model, identity, signal } = options;
    const { name, version, precision, decode } = model;
    const outcomes = [];
    const send = async (batch) => {
        const start = outcomes.length;
        const width = batch[0]?.vector.length ?? 0;
        for (const [i, { vector }] of batch.entries())
            if (vector.length !== width || width === 0)
                throw invalidCall(`items[${start + i}].vector has ${vector.length} numbers, items[${start}].vector has ${width}`);
        const embeddings = batch.map(({ vector }, i) => floatBytes(`items[${start + i}].vector`, vector));
        const fields = [
            ["model", toJson("model", { name, version, precision, decode, identity })],
            ["embeddings", new Blob(embeddings)],
        ];
        if (batch.some(({ id, metadata }) => id !== undefined || metadata !== undefined))
            fields.push(["items", toJson("metadata", batch.map(({ id, metadata }) => ({ id, metadata })))]);
        const path = ["collections", collection, "vectors"];
        const query = { replace: options.replace || undefined };
        const request = { method: "POST", path, query, body: form(fields), signal };
        let found;
        try {
            const indexes = batch.map((_, i) => start + i);
            found = await transport.json(request, (answer) => outcomesOf(answer, indexes));
        }
        catch (error) {
            if (!(error instanceof DiptychError && batch.length === 1 && error.item?.startsWith("items[0]")))
                throw error;
            found = [{ index: start, ...FAILED, error: ofSingleItem(error) }];
        }
        for (const outcome of found) {
            outcomes.push(outcome);
            options.onOutcome?.(outcome);
        }
    };
    let batch = [];
    for await (const item of items) {
        checkVectorItem(item, outcomes.length + batch.length);
        batch.push(item);
        if (batch.length === MAX_VECTORS)
            await send(batch.splice(0));
    }
    if (batch.length > 0)
        await send(batch);
    return outcomes;
}
function checkVectorItem(item, index) {
    checkObject(`items[${index}]`, VECTOR_ITEM, item);
    checkVector(`items[${index}].vector`, item.vector);
}
function outcomesOf(answer, indexes) {
    if (answer.outcomes?.length !== indexes.length)
        throw unexpected(`${answer.outcomes?.length} outcomes for ${indexes.length} items`);
    return answer.outcomes.map(({ id, status, error, metadata_differs = false }, i) => ({
        index: indexes[i],
        id,
        status,
        error: error === null ? null : problemError(error, error.status),
        metadata_differs,
    }));
}
function lacks(stored, given) {
    const { file, ...wanted } = given;
    return Object.entries(wanted).some(([name, value]) => !(name in stored) || !sameJson(value, stored[name]));
}
function concernsOneItem(error) {
    return error.kind === "api" && (error.item !== null || error.status === 413);
}
function ofSingleItem(error) {
    return error.withItem(error.item?.replace(/^(?:images|items)\[0\]\.?/, "") || null);
}
function sizeOf(batch) {
    return batch.reduce((sum, { bytes }) => sum + bytes.size, 0);
}
async function sha256Of(bytes) {
    const { subtle } = globalThis.crypto;
    if (subtle === undefined)
        throw invalidCall("skipKnown needs a page of https: or of this machine, to compute sha256");
    const digest = new Uint8Array(await subtle.digest("SHA-256", await bytes.arrayBuffer()));
    return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
function sameJson(one, other) {
    const sorted = (_, value) => typeof value === "object" && value !== null && !Array.isArray(value)
        ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
        : value;
    return JSON.stringify(one, sorted) === JSON.stringify(other, sorted);
}
