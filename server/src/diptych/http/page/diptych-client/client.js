import { add, addVectors, defaultCollection, lookUp } from "./adding.js";
import { checkedOptions, checkList, checkObject, checkTexts, wrongArgument } from "./checks.js";
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
    async classifyEmbeddings(embeddings, labels, options) {
        const { model } = checkedOptions(options, "an object with { model }");
        checkObject("model", "an object { name, version, precision, decode }", model);
        checkList("embeddings", "vectors", embeddings);
        const encoded = (vector, i) => base64(new Uint8Array(floatBytes(`embeddings[${i}]`, vector)));
        const items = embeddings.map((vector, i) => ({ embedding: encoded(vector, i) }));
        return classifyItems(this.transport, "embeddings", items, labels, options);
    }
    async classifyStored(ids, labels, options = {}) {
        const { collection } = checkedOptions(options);
        checkTexts("ids", ids);
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
        const sent = upload(archive, options);
        const { collection = await defaultCollection(this.transport, options) } = options;
        const path = ["collections", collection, "images"];
        return this.post(path, options, { ...sent, query: { replace: options.replace || undefined } });
    }
    addVectors(items, options) {
        return addVectors(this.transport, items, options);
    }
    async collections(options = {}) {
        return this.list("collections", options);
    }
    collection(name, options = {}) {
        return this.get(["collections", name], options);
    }
    async createCollection(name, options = {}) {
        const { keep, textFields } = checkedOptions(options);
        const json = without({ name, keep, text_fields: textFields });
        return this.post(["collections"], options, { json, repeatable: false });
    }
    async changeCollection(name, changes, options = {}) {
        checkObject("changes", "an object { newName, keep, textFields }", changes);
        const { newName, keep, textFields } = changes;
        const json = { ...without({ name: newName, keep }), ...(textFields === undefined ? {} : { text_fields: textFields }) };
        return this.call("PATCH", ["collections", name], options, { json, repeatable: false });
    }
    async dropCollection(name, options = {}) {
        await this.delete(["collections", name], options);
    }
    async listImages(collection, options = {}) {
        const { after, limit, filter, orderBy, direction } = checkedOptions(options);
        const query = { after, limit, filter: filter && toJson("filter", filter), order_by: orderBy, direction };
        return this.call("GET", ["collections", collection, "images"], options, { query });
    }
    async fields(collection, options = {}) {
        const { filter, limit, nested } = checkedOptions(options);
        const query = { filter: filter && toJson("filter", filter), limit, nested };
        return this.call("GET", ["collections", collection, "fields"], options, { query });
    }
    async months(collection, field, options = {}) {
        const { filter } = checkedOptions(options);
        const query = { field, filter: filter && toJson("filter", filter) };
        return this.call("GET", ["collections", collection, "months"], options, { query });
    }
    async folders(collection, options = {}) {
        const { under, filter } = checkedOptions(options);
        const query = { under, filter: filter && toJson("filter", filter) };
        return this.call("GET", ["collections", collection, "folders"], options, { query });
    }
    async duplicates(collection, options = {}) {
        const { kind, after, limit } = checkedOptions(options);
        const query = { kind, after, limit };
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
    async thumbnail(collection, id, options = {}) {
        const { size } = checkedOptions(options);
        return this.blob(["collections", collection, "images", id, "thumbnail"], options, { size });
    }
    originalUrl(collection, id) {
        return this.transport.url(["collections", collection, "images", id, "original"]).href;
    }
    thumbnailUrl(collection, id, options = {}) {
        const { size } = checkedOptions(options, "an object { size }");
        return this.transport.url(["collections", collection, "images", id, "thumbnail"], { size }).href;
    }
    patchImage(collection, id, metadata, options = {}) {
        return this.call("PATCH", ["collections", collection, "images", id], options, { json: { metadata } });
    }
    async deleteImage(collection, id, options = {}) {
        await this.delete(["collections", collection, "images", id], options);
    }
    async deleteImages(collection, options) {
        const { filter, lacking, preview } = checkedOptions(options, "an object with { filter } or { lacking }");
        const json = without({ filter, lacking, preview });
        return this.post(["collections", collection, "deletions"], options, { json });
    }
    async labelSets(collection, options = {}) {
        const found = await this.get(["collections", collection, "label-sets"], options);
        return found.label_sets;
    }
    async putLabelSet(collection, name, labels, options = {}) {
        const { kind, templates, minScore, precision, dropVerdicts } = checkedOptions(options);
        const json = without({ labels, kind, templates, min_score: minScore, precision, drop_verdicts: dropVerdicts });
        return this.call("PUT", ["collections", collection, "label-sets", name], options, { json });
    }
    labelSet(collection, name, options = {}) {
        return this.get(["collections", collection, "label-sets", name], options);
    }
    dropLabelSet(collection, name, options = {}) {
        return this.delete(["collections", collection, "label-sets", name], options);
    }
    async labelledImages(collection, name, options = {}) {
        const { label, uncertainFirst, contested, after, limit } = checkedOptions(options);
        const query = { label, uncertain_first: uncertainFirst, contested, after, limit };
        return this.call("GET", ["collections", collection, "label-sets", name, "images"], options, { query });
    }
    async labelProposals(collection, name, options = {}) {
        const { limit } = checkedOptions(options);
        return this.call("GET", ["collections", collection, "label-sets", name, "proposals"], options, { query: { limit } });
    }
    async exportLabels(collection, name, options = {}) {
        const { format, label } = checkedOptions(options);
        return this.blob(["collections", collection, "label-sets", name, "export"], options, { format, label });
    }
    async giveVerdicts(collection, name, verdicts, options = {}) {
        const json = { verdicts };
        return this.post(["collections", collection, "label-sets", name, "verdicts"], options, { json });
    }
    withdrawVerdict(collection, name, id, options = {}) {
        return this.call("DELETE", ["collections", collection, "label-sets", name, "verdicts", id], options);
    }
    async libraries(options = {}) {
        return this.list("libraries", options);
    }
    scanLibrary(name, options = {}) {
        const query = { restore_deleted: checkedOptions(options).restoreDeleted };
        return this.call("POST", ["libraries", name, "scan"], options, { query });
    }
    async jobs(options = {}) {
        return this.list("jobs", options);
    }
    job(id, options = {}) {
        return this.get(["jobs", id], options);
    }
    async cancelJob(id, options = {}) {
        return this.call("DELETE", ["jobs", id], options);
    }
    async jobOutcomes(id, options = {}) {
        const { after, limit } = checkedOptions(options);
        const query = { after, limit };
        return this.call("GET", ["jobs", id, "outcomes"], options, { query });
    }
    jobEvents(id, options = {}) {
        return jobEvents(this.transport, id, options);
    }
    followJob(id, options = {}) {
        return followJob(this.transport, id, options);
    }
    async models(options = {}) {
        return this.list("models", options);
    }
    model(name, options = {}) {
        return this.get(["models", name], options);
    }
    modelVersion(name, version, options = {}) {
        return this.get(["models", name, "versions", version], options);
    }
    async modelCard(name, version, options = {}) {
        return (await this.blob(["models", name, "versions", version, "card"], options)).text();
    }
    modelCardFile(name, version, file, options = {}) {
        return this.blob(["models", name, "versions", version, "card", file], options);
    }
    async pushModel(name, archive, options = {}) {
        return this.post(["models", name, "versions"], options, upload(archive, options));
    }
    rolloutStatus(options = {}) {
        return this.get(["models"], options);
    }
    async activate(name, version, options = {}) {
        const { precision, despiteLabels } = checkedOptions(options);
        const json = without({ precision, despite_labels: despiteLabels || undefined });
        return this.post(["models", name, "versions", version, "activate"], options, { json });
    }
    async rollback(options = {}) {
        const { previous } = await this.rolloutStatus(options);
        if (!previous)
            throw new DiptychError("api", { status: 404, detail: "the server keeps no version to go back to" });
        const { name, version, precision } = previous;
        return this.activate(name, version, { ...options, precision, despiteLabels: true });
    }
    async rollouts(options = {}) {
        return this.list("rollouts", options, { limit: checkedOptions(options).limit });
    }
    rollout(id, options = {}) {
        return this.get(["rollouts", id], options);
    }
    async waitForRollout(id, options = {}) {
        checkedOptions(options);
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
    async compareVersions(name, oldVersion, newVersion, options = {}) {
        const { oldName, collection } = checkedOptions(options);
        const query = { against: oldVersion, against_model: oldName, collection };
        return this.call("GET", ["models", name, "versions", newVersion, "comparison"], options, { query });
    }
    async keys(options = {}) {
        return this.list("keys", options);
    }
    async createKey(name, scope = "read", options = {}) {
        const { collections, expiresAt } = checkedOptions(options);
        if (collections !== undefined && collections !== null)
            checkTexts("collections", collections);
        if (expiresAt !== undefined && expiresAt !== null && !(expiresAt instanceof Date && !Number.isNaN(expiresAt.valueOf())))
            throw wrongArgument("expiresAt", "a valid Date", expiresAt);
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
    async call(method, path, options, more = {}) {
        const { signal } = checkedOptions(options);
        return this.transport.json({ method, path, signal, ...more });
    }
    async list(name, options, query = {}) {
        const { signal } = checkedOptions(options);
        return this.transport.json({ method: "GET", path: [name], query, signal }, (answer) => {
            if (!Array.isArray(answer[name]))
                throw new TypeError(`it has no list of ${name}`);
            return answer[name];
        });
    }
    get(path, options) {
        return this.call("GET", path, options);
    }
    post(path, options, more) {
        return this.call("POST", path, options, more);
    }
    async delete(path, options) {
        const { signal } = checkedOptions(options);
        await this.transport.send({ method: "DELETE", path, signal });
    }
    async blob(path, options, query = {}) {
        const { signal } = checkedOptions(options);
        return (await this.transport.send({ method: "GET", path, query, signal })).body;
    }
}
function upload(archive, options) {
    const { onUploadProgress } = checkedOptions(options);
    if (!(archive instanceof Blob))
        throw wrongArgument("archive", "a Blob; fileBlob() of diptych-client/node opens files", archive);
    const onSent = onUploadProgress && ((sentBytes, totalBytes) => onUploadProgress({ sentBytes, totalBytes }));
    return { body: archive, contentType: TAR, onSent };
}
function defaultUrl() {
    if (typeof document !== "undefined")
        return new URL(".", document.baseURI);
    const { process } = globalThis;
    return process?.env?.["DIPTYCH_URL"] || DEFAULT_URL;
}
