import { add, addVectors, defaultCollection, lookUp } from "./adding.js";
import { classify, classifyItems, embed, without } from "./encoding.js";
import { DiptychError } from "./errors.js";
import { base64, floatBytes } from "./images.js";
import { followJob, jobEvents } from "./jobs.js";
import { search } from "./searching.js";
import { pause, toJson, Transport } from "./transport.js";
const DEFAULT_URL = "http://127.0.0.1:8000";
const TAR = "application/x-tar";
const POLL_S = 0.5;
const ENDED = ["active", "failed", "cancelled"];
export class Client {
    transport;
    constructor(url, options = {}) {
        this.transport = new Transport(url ?? defaultUrl(), options);
    }
    get url() {
        return this.transport.base.href;
    }
    get apiKey() {
        return this.transport.apiKey;
    }
    set apiKey(key) {
        this.transport.apiKey = key;
    }
    embed(input, options = {}) {
        return embed(this.transport, input, options);
    }
    classify(images, labels, options = {}) {
        return classify(this.transport, images, labels, options);
    }
    classifyEmbeddings(embeddings, labels, options) {
        const items = embeddings.map((vector) => ({ embedding: base64(new Uint8Array(floatBytes(vector))) }));
        return classifyItems(this.transport, "embeddings", items, labels, options);
    }
    classifyStored(ids, labels, { collection, ...options } = {}) {
        const items = ids.map((id) => without({ id, collection }));
        return classifyItems(this.transport, "ids", items, labels, options);
    }
    search(query, options = {}) {
        return search(this.transport, query, options);
    }
    add(items, options = {}) {
        return add(this.transport, items, options);
    }
    async addTar(archive, options = {}) {
        const { collection = await defaultCollection(this.transport, options) } = options;
        const path = ["collections", collection, "images"];
        return this.post(path, options, { ...upload(archive, options), query: { replace: options.replace || undefined } });
    }
    addVectors(items, options) {
        return addVectors(this.transport, items, options);
    }
    async collections(options = {}) {
        return (await this.get(["collections"], options)).collections;
    }
    collection(name, options = {}) {
        return this.get(["collections", name], options);
    }
    createCollection(name, options = {}) {
        const json = without({ name, keep: options.keep, precision: options.precision });
        return this.post(["collections"], options, { json, repeatable: false });
    }
    changeCollection(name, changes, options = {}) {
        const { newName, keep, model, precision } = changes;
        const json = without({ name: newName, keep, model, precision });
        return this.call("PATCH", ["collections", name], options, { json, repeatable: false });
    }
    async dropCollection(name, options = {}) {
        await this.delete(["collections", name], options);
    }
    listImages(collection, options = {}) {
        const query = { after: options.after, limit: options.limit, filter: options.filter && toJson("filter", options.filter) };
        return this.call("GET", ["collections", collection, "images"], options, { query });
    }
    fields(collection, options = {}) {
        const { filter, limit, nested } = options;
        const query = { filter: filter && toJson("filter", filter), limit, nested };
        return this.call("GET", ["collections", collection, "fields"], options, { query });
    }
    duplicates(collection, options = {}) {
        const query = { kind: options.kind, after: options.after, limit: options.limit };
        return this.call("GET", ["collections", collection, "duplicates"], options, { query });
    }
    getImage(collection, id, options = {}) {
        return this.get(["collections", collection, "images", id], options);
    }
    findImages(collection, ids, options = {}) {
        return lookUp(this.transport, collection, ids, options);
    }
    original(collection, id, options = {}) {
        return this.blob(["collections", collection, "images", id, "original"], options);
    }
    thumbnail(collection, id, options = {}) {
        return this.blob(["collections", collection, "images", id, "thumbnail"], options, { size: options.size });
    }
    originalUrl(collection, id) {
        return this.transport.url(["collections", collection, "images", id, "original"]).href;
    }
    thumbnailUrl(collection, id, { size } = {}) {
        return this.transport.url(["collections", collection, "images", id, "thumbnail"], { size }).href;
    }
    patchImage(collection, id, metadata, options = {}) {
        return this.call("PATCH", ["collections", collection, "images", id], options, { json: { metadata } });
    }
    async deleteImage(collection, id, options = {}) {
        await this.delete(["collections", collection, "images", id], options);
    }
    deleteImages(collection, options) {
        const json = without({ filter: options.filter, lacking: options.lacking, preview: options.preview });
        return this.post(["collections", collection, "deletions"], options, { json });
    }
    async jobs(options = {}) {
        return (await this.get(["jobs"], options)).jobs;
    }
    job(id, options = {}) {
        return this.get(["jobs", id], options);
    }
    async cancelJob(id, options = {}) {
        return this.call("DELETE", ["jobs", id], options);
    }
    jobOutcomes(id, options = {}) {
        const query = { after: options.after, limit: options.limit };
        return this.call("GET", ["jobs", id, "outcomes"], options, { query });
    }
    jobEvents(id, options = {}) {
        return jobEvents(this.transport, id, options);
    }
    followJob(id, options = {}) {
        return followJob(this.transport, id, options);
    }
    async models(options = {}) {
        return (await this.rolloutStatus(options)).models;
    }
    model(name, options = {}) {
        return this.get(["models", name], options);
    }
    modelVersion(name, version, options = {}) {
        return this.get(["models", name, "versions", String(version)], options);
    }
    async modelCard(name, version, options = {}) {
        return (await this.blob(["models", name, "versions", String(version), "card"], options)).text();
    }
    modelCardFile(name, version, file, options = {}) {
        return this.blob(["models", name, "versions", String(version), "card", file], options);
    }
    pushModel(name, archive, options = {}) {
        return this.post(["models", name, "versions"], options, upload(archive, options));
    }
    rolloutStatus(options = {}) {
        return this.get(["models"], options);
    }
    activate(name, version, options = {}) {
        const path = ["models", name, "versions", String(version), "activate"];
        return this.post(path, options, { json: { now: options.now ?? false } });
    }
    async rollback(options = {}) {
        const { previous } = await this.rolloutStatus(options);
        if (previous === null)
            throw new DiptychError("api", { status: 404, detail: "the server keeps no version to go back to" });
        return this.activate(previous.name, previous.version, options);
    }
    async rollouts(options = {}) {
        const query = { limit: options.limit };
        return (await this.call("GET", ["rollouts"], options, { query })).rollouts;
    }
    rollout(id, options = {}) {
        return this.get(["rollouts", id], options);
    }
    async waitForRollout(id, options = {}) {
        for (;;) {
            const rollout = await this.rollout(id, options);
            options.onProgress?.(rollout);
            if (ENDED.includes(rollout.state))
                return rollout;
            await pause(POLL_S, options.signal);
        }
    }
    cancelRollout(id, options = {}) {
        return this.call("DELETE", ["rollouts", id], options);
    }
    compareVersions(name, oldVersion, newVersion, options = {}) {
        const path = ["models", name, "versions", String(newVersion), "comparison"];
        const query = { against: oldVersion, against_model: options.oldName, collection: options.collection };
        return this.call("GET", path, options, { query });
    }
    async keys(options = {}) {
        return (await this.get(["keys"], options)).keys;
    }
    createKey(name, scope = "read", options = {}) {
        const { collections, expiresAt } = options;
        const json = without({ name, scopes: [scope], collections, expires_at: expiresAt?.toISOString() });
        return this.post(["keys"], options, { json, repeatable: false });
    }
    async revokeKey(prefix, options = {}) {
        await this.delete(["keys", prefix], options);
    }
    version(options = {}) {
        return this.get(["version"], options);
    }
    async ready(options = {}) {
        try {
            await this.call("GET", ["readyz"], options, { repeatable: false });
            return { ready: true, detail: "" };
        }
        catch (error) {
            if (error instanceof DiptychError && error.status === 503)
                return { ready: false, detail: error.detail };
            throw error;
        }
    }
    async health(options = {}) {
        await this.get(["healthz"], options);
    }
    async metrics(options = {}) {
        return (await this.blob(["metrics"], options)).text();
    }
    call(method, path, { signal }, more = {}) {
        return this.transport.json({ method, path, signal, ...more });
    }
    get(path, options) {
        return this.call("GET", path, options);
    }
    post(path, options, more) {
        return this.call("POST", path, options, more);
    }
    async delete(path, { signal }) {
        await this.transport.send({ method: "DELETE", path, signal });
    }
    async blob(path, { signal }, query = {}) {
        return (await this.transport.send({ method: "GET", path, query, signal })).body;
    }
}
function upload(archive, { onUploadProgress }) {
    const onSent = onUploadProgress && ((sentBytes, totalBytes) => onUploadProgress({ sentBytes, totalBytes }));
    return { body: archive, contentType: TAR, onSent };
}
function defaultUrl() {
    if (typeof document !== "undefined")
        return new URL(".", document.baseURI);
    const { process } = globalThis;
    return process?.env?.["DIPTYCH_URL"] || DEFAULT_URL;
}
