import { checkedOptions, checkKey, wrongArgument } from "./checks.js";
import { DiptychError, invalidCall, problemError, unexpected } from "./errors.js";
export const DEFAULT_TIMEOUT_S = 60;
export const DEFAULT_RETRIES = 4;
const MAX_TIMEOUT_S = 86_400;
const MAX_RETRY_AFTER_S = 60;
const SLOWEST_UPLOAD = 100_000;
const PROXY_STATUSES = new Set([502, 504]);
const ARGUMENTS = {
    collections: "the name of the collection",
    images: "the id of the image",
    models: "the name of the model",
    card: "the file of the card",
    jobs: "the id of the job",
    rollouts: "the id of the rollout",
    keys: "the prefix of the key",
    against: "the old version",
    against_model: "oldName",
};
const PROBLEM_JSON = "application/problem+json";
const REDIRECTED = "the server redirects elsewhere: is the URL right?";
const NOT_DIPTYCH = "the answer did not come from diptych: is there a proxy in front of it?";
const NOT_DIPTYCH_413 = "the body was refused, but not by diptych: a proxy in front of it seems to have a smaller limit";
export class Transport {
    base;
    retries;
    key = null;
    timeoutSeconds;
    fetch;
    onUnauthorized;
    asking = null;
    constructor(url, options) {
        this.base = baseUrl(url);
        checkedOptions(options, "an object, such as { apiKey }");
        this.timeoutSeconds = options.timeoutSeconds ?? DEFAULT_TIMEOUT_S;
        this.retries = options.retries ?? DEFAULT_RETRIES;
        if (!(typeof this.timeoutSeconds === "number" && this.timeoutSeconds > 0 && this.timeoutSeconds <= MAX_TIMEOUT_S))
            throw wrongArgument("timeoutSeconds", `a number above 0 and at most ${MAX_TIMEOUT_S}`, this.timeoutSeconds);
        if (!(Number.isInteger(this.retries) && this.retries >= 0))
            throw wrongArgument("retries", "a whole number from 0", this.retries);
        this.apiKey = options.apiKey ?? null;
        this.fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
        if (typeof this.fetch !== "function")
            throw wrongArgument("fetch", "a function", this.fetch);
        this.onUnauthorized = options.onUnauthorized;
    }
    get apiKey() {
        return this.key;
    }
    set apiKey(key) {
        checkKey("apiKey", key);
        this.key = key ?? null;
    }
    url(path, query = {}) {
        const url = new URL(path.map((segment, i) => quoted(segment, path[i - 1])).join("/"), this.base);
        for (const [name, value] of Object.entries(query)) {
            if (value === null || value === undefined)
                continue;
            if (typeof value === "object" || typeof value === "symbol" || typeof value === "function")
                throw wrongArgument(ARGUMENTS[name] ?? name, "a string, a number or a boolean", value);
            url.searchParams.set(name, String(value));
        }
        return url;
    }
    async json(request, read) {
        const answer = await this.send(request);
        const body = (await answerJson(answer));
        try {
            if (typeof body !== "object" || body === null)
                throw new TypeError("the answer is no object");
            return read === undefined ? body : read(body);
        }
        catch (error) {
            if (error instanceof DiptychError)
                throw error;
            throw unexpected(`an answer of another form: is this a diptych server? ${messageOf(error)}`, answer.status, error);
        }
    }
    async send(request) {
        return this.exchange(request, (open) => open.complete());
    }
    async *stream(request) {
        const open = await this.exchange(request, async (open) => open);
        yield* open.chunks();
    }
    async exchange(request, read) {
        let attempt = 0;
        for (;;) {
            attempt++;
            const key = this.apiKey;
            let error;
            let waitSeconds;
            try {
                const open = await this.open(request, key);
                if (open.response.ok)
                    return await read(open);
                const answer = await open.complete();
                error = await errorOf(answer);
                if (answer.status === 401 && (await this.renewKey(key, error))) {
                    attempt--;
                    continue;
                }
                waitSeconds = retryWait(answer, attempt);
            }
            catch (thrown) {
                if (!(thrown instanceof DiptychError) || thrown.kind !== "unreachable")
                    throw thrown;
                error = thrown;
                waitSeconds = Math.min(2 ** attempt / 4, 2);
            }
            if (request.repeatable === false || attempt > this.retries || waitSeconds === null)
                throw error;
            await pause(waitSeconds, request.signal);
        }
    }
    async renewKey(refused, error) {
        if (this.onUnauthorized === undefined)
            return false;
        if (this.apiKey === refused) {
            this.asking ??= Promise.resolve(this.onUnauthorized(error)).finally(() => (this.asking = null));
            const key = await this.asking;
            if (!key)
                return false;
            checkKey("the key that onUnauthorized returned", key);
            this.apiKey = key;
        }
        return true;
    }
    async open(request, key) {
        const url = this.url(request.path, request.query);
        const { body, headers } = encoded(request);
        if (key)
            headers.set("Authorization", `Bearer ${key}`);
        const deadline = new Deadline(this.base, this.timeoutSeconds, request.signal);
        deadline.restart(sizeOf(body) / SLOWEST_UPLOAD);
        try {
            return new OpenAnswer(await this.responseTo(url, request, body, headers, deadline), deadline);
        }
        catch (error) {
            throw deadline.errorFor(error);
        }
    }
    async responseTo(url, request, body, headers, deadline) {
        const { method, onSent } = request;
        const { fetch } = this;
        const init = { method, headers, body, signal: deadline.signal, redirect: "manual" };
        if (body === null || typeof body === "string")
            return fetch(url, init);
        if (body instanceof Blob)
            Object.assign(init, { redirect: "error", window: null });
        if (onSent === undefined)
            return fetch(url, init);
        if (typeof XMLHttpRequest !== "undefined")
            return uploadByXhr(url, method, headers, body, deadline, onSent);
        const whole = body instanceof Blob ? body : await new Response(body).blob();
        if (body instanceof FormData)
            headers.set("Content-Type", whole.type);
        return fetch(url, { ...init, body: counted(whole, onSent), duplex: "half" });
    }
}
export async function answerJson(answer) {
    try {
        return JSON.parse(await answer.body.text());
    }
    catch (error) {
        const kind = answer.headers.get("content-type") ?? "no content type";
        throw unexpected(`an answer with ${kind}, which is not JSON: is this a diptych server?`, answer.status, error);
    }
}
export function toJson(name, value) {
    const checked = (key, one) => {
        if (typeof one === "number" && !Number.isFinite(one))
            throw invalidCall(`${name} has ${key}: ${one}, which JSON lacks`);
        return one;
    };
    let text;
    try {
        text = JSON.stringify(value, checked);
    }
    catch (error) {
        if (error instanceof DiptychError)
            throw error;
        throw invalidCall(`${name} cannot be written as JSON: ${messageOf(error)}`, error);
    }
    if (text === undefined)
        throw wrongArgument(name, "a value that JSON has", value);
    return text;
}
export async function pause(seconds, signal) {
    throwIfAborted(signal);
    await new Promise((resolve) => {
        const done = () => {
            clearTimeout(timer);
            signal?.removeEventListener("abort", done);
            resolve();
        };
        const timer = setTimeout(done, seconds * 1000);
        signal?.addEventListener("abort", done);
    });
    throwIfAborted(signal);
}
export function throwIfAborted(signal) {
    if (signal?.aborted)
        throw new DiptychError("aborted", { cause: signal.reason });
}
class Deadline {
    base;
    seconds;
    caller;
    controller = new AbortController();
    onAbort = () => this.controller.abort();
    timer;
    timedOut = false;
    constructor(base, seconds, caller) {
        this.base = base;
        this.seconds = seconds;
        this.caller = caller;
        throwIfAborted(caller);
        caller?.addEventListener("abort", this.onAbort);
    }
    get signal() {
        return this.controller.signal;
    }
    restart(moreSeconds = 0) {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => {
            this.timedOut = true;
            this.controller.abort();
        }, (this.seconds + moreSeconds) * 1000);
    }
    close() {
        clearTimeout(this.timer);
        this.caller?.removeEventListener("abort", this.onAbort);
        this.controller.abort();
    }
    errorFor(error) {
        this.close();
        if (error instanceof DiptychError)
            return error;
        if (this.caller?.aborted)
            return new DiptychError("aborted", { cause: this.caller.reason });
        const { href } = this.base;
        if (this.timedOut)
            return new DiptychError("timeout", { detail: `${href} did not answer in ${this.seconds} s`, cause: error });
        const reason = messageOf(error instanceof Error && error.cause ? error.cause : error);
        if (reason === "unexpected redirect")
            return unexpected(REDIRECTED, 0, error);
        const detail = `cannot reach ${href}: ${reason}. Is \`diptych serve\` running?`;
        return new DiptychError("unreachable", { detail, cause: error });
    }
}
class OpenAnswer {
    response;
    deadline;
    constructor(response, deadline) {
        this.response = response;
        this.deadline = deadline;
    }
    async complete() {
        const { status, headers } = this.response;
        const parts = [];
        for await (const chunk of this.chunks())
            parts.push(chunk);
        return { status, headers, body: new Blob(parts, { type: headers.get("content-type") ?? "" }) };
    }
    async *chunks() {
        try {
            const reader = this.response.body?.getReader();
            while (reader !== undefined) {
                this.deadline.restart();
                const { done, value } = await reader.read();
                if (done)
                    return;
                yield value;
            }
        }
        catch (error) {
            throw this.deadline.errorFor(error);
        }
        finally {
            this.deadline.close();
        }
    }
}
function encoded(request) {
    const headers = new Headers(request.headers);
    if (request.json !== undefined) {
        headers.set("Content-Type", "application/json");
        return { body: toJson("the request", request.json), headers };
    }
    if (request.contentType !== undefined)
        headers.set("Content-Type", request.contentType);
    return { body: request.body ?? null, headers };
}
function sizeOf(body) {
    if (body === null)
        return 0;
    if (typeof body === "string")
        return body.length;
    if (body instanceof Blob)
        return body.size;
    let n = 0;
    for (const value of body.values())
        n += typeof value === "string" ? value.length : value.size;
    return n;
}
function counted(body, onSent) {
    let sent = 0;
    const count = new TransformStream({
        transform(chunk, controller) {
            controller.enqueue(chunk);
            sent += chunk.byteLength;
            onSent(sent, body.size);
        },
    });
    return body.stream().pipeThrough(count);
}
function uploadByXhr(url, method, headers, body, deadline, onSent) {
    return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open(method, url);
        request.responseType = "blob";
        headers.forEach((value, name) => request.setRequestHeader(name, value));
        request.upload.addEventListener("progress", (event) => {
            deadline.restart((event.total - event.loaded) / SLOWEST_UPLOAD);
            onSent(event.loaded, event.total);
        });
        request.addEventListener("load", () => {
            const { status } = request;
            resolve(new Response(status === 204 ? null : request.response, { status, headers: headersOf(request) }));
        });
        request.addEventListener("error", () => reject(new TypeError("the connection failed")));
        request.addEventListener("abort", () => reject(new TypeError("the upload was cancelled")));
        deadline.signal.addEventListener("abort", () => request.abort());
        request.send(body);
    });
}
function headersOf(request) {
    const headers = new Headers();
    for (const line of request.getAllResponseHeaders().split("\r\n")) {
        const colon = line.indexOf(":");
        if (colon > 0)
            headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    }
    return headers;
}
async function errorOf(answer) {
    const { status, headers } = answer;
    if (status < 400)
        return unexpected(REDIRECTED, status);
    const body = await answerJson(answer).catch(() => null);
    const seconds = Number(headers.get("retry-after") ?? Number.NaN);
    const fields = {
        requestId: headers.get("x-request-id"),
        retryAfterSeconds: Number.isFinite(seconds) && seconds >= 0 ? seconds : null,
    };
    const error = problemError(body, status, fields);
    if (error.detail || isFromDiptych(status, headers))
        return error;
    return problemError({ ...(body ?? {}), detail: status === 413 ? NOT_DIPTYCH_413 : NOT_DIPTYCH }, status, fields);
}
function isFromDiptych(status, headers) {
    return status === 400 || (headers.get("content-type") ?? "").startsWith(PROBLEM_JSON);
}
function retryWait({ status, headers }, attempt) {
    const isProxy = PROXY_STATUSES.has(status) && !isFromDiptych(status, headers);
    if (status !== 429 && status !== 503 && !isProxy)
        return null;
    const asked = headers.get("retry-after");
    const seconds = asked !== null && asked.trim() !== "" ? Number(asked) : isProxy ? 2 ** attempt : Number.NaN;
    return seconds >= 0 && seconds <= MAX_RETRY_AFTER_S ? seconds : null;
}
function baseUrl(url) {
    let base;
    try {
        base = new URL(url);
    }
    catch (error) {
        throw wrongArgument("url", "a URL such as http://127.0.0.1:8000", url, error);
    }
    if (base.protocol !== "http:" && base.protocol !== "https:")
        throw wrongArgument("url", "a URL such as http://127.0.0.1:8000", base.href);
    base.search = base.hash = "";
    if (!base.pathname.endsWith("/"))
        base.pathname += "/";
    return base;
}
function quoted(segment, before = "") {
    if (before === "versions") {
        if (typeof segment === "object" || !/^\d+$/.test(String(segment)))
            throw wrongArgument("the version of the model", "a whole number", segment);
        return String(segment);
    }
    if (typeof segment !== "string")
        throw wrongArgument(ARGUMENTS[before] ?? "the name", "a string", segment);
    if (["", ".", ".."].includes(segment))
        throw invalidCall(`${JSON.stringify(segment)} cannot be a name or an id`);
    try {
        return encodeURIComponent(segment);
    }
    catch (error) {
        throw invalidCall(`${JSON.stringify(segment.slice(0, 100))} has a lone surrogate, which is not a character`, error);
    }
}
function messageOf(error) {
    return error instanceof Error ? error.message || error.name : String(error);
}
