/** Sends requests: keys, retries, timeouts, cancellation, upload progress. Everything else is built on `Transport`. */

import { checkedOptions, checkKey, wrongArgument } from "./checks.js";
import { DiptychError, invalidCall, problemError, unexpected } from "./errors.js";

/** Options of a `Client`. */
export interface ClientOptions {
  /** Sent as `Authorization: Bearer ...`. */
  apiKey?: string | null;
  /**
   * How long the server may take to begin its answer, and between two parts of it; 60 by default. A body adds a second
   * for each 100 kB.
   */
  timeoutSeconds?: number;
  /** How often a request is repeated that may be repeated; 4 by default. 0 switches retries off. */
  retries?: number;
  /** Used instead of the global `fetch`, for tests or proxies. Uploads with progress in browsers do not go through it. */
  fetch?: typeof globalThis.fetch;
  /**
   * Called when the server answers 401, once at a time. It resolves to the key to go on with, which the client keeps, or
   * to null to give up.
   */
  onUnauthorized?: (error: DiptychError) => string | null | undefined | Promise<string | null | undefined>;
}

/** Options of every call. */
export interface CallOptions {
  /** Cancels the call: it throws a `DiptychError` of kind `aborted`, and the server stops working on it. */
  signal?: AbortSignal | undefined;
}

/** One request. A `body` is a form or a file; `json` is written as JSON. */
export interface HttpRequest extends CallOptions {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: readonly (string | number)[];
  query?: Readonly<Record<string, string | number | boolean | null | undefined>>;
  json?: unknown;
  body?: FormData | Blob;
  contentType?: string;
  headers?: Readonly<Record<string, string>>;
  /** Whether sending it twice does no harm; yes by default. */
  repeatable?: boolean;
  /** Gets the bytes of the body that were sent, and of all. */
  onSent?: ((sentBytes: number, totalBytes: number) => void) | undefined;
}

/** A complete answer. */
export interface Answer {
  status: number;
  headers: Headers;
  body: Blob;
}

export const DEFAULT_TIMEOUT_S = 60;
export const DEFAULT_RETRIES = 4;
const MAX_TIMEOUT_S = 86_400;
/** If a server asks for a longer wait, the error is thrown instead, and the caller decides. */
const MAX_RETRY_AFTER_S = 60;
/** Bytes of a body for which the server gets one second more. */
const SLOWEST_UPLOAD = 100_000;
/** Statuses of a proxy whose server is restarting, usually without Retry-After. */
const PROXY_STATUSES = new Set([502, 504]);
/** What callers give behind a segment of a path, and parameters of queries that they know by another name. */
const ARGUMENTS: Readonly<Record<string, string>> = {
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
  readonly base: URL;
  readonly retries: number;
  private key: string | null = null;
  private readonly timeoutSeconds: number;
  private readonly fetch: typeof globalThis.fetch;
  private readonly onUnauthorized: ClientOptions["onUnauthorized"];
  private asking: Promise<string | null | undefined> | null = null;

  constructor(url: string | URL, options: ClientOptions) {
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
    if (typeof this.fetch !== "function") throw wrongArgument("fetch", "a function", this.fetch);
    this.onUnauthorized = options.onUnauthorized;
  }

  get apiKey(): string | null {
    return this.key;
  }

  set apiKey(key: string | null) {
    checkKey("apiKey", key);
    this.key = key ?? null;
  }

  /** Return the URL of a path, whose segments are quoted. */
  url(path: HttpRequest["path"], query: HttpRequest["query"] = {}): URL {
    const url = new URL(path.map((segment, i) => quoted(segment, path[i - 1])).join("/"), this.base);
    for (const [name, value] of Object.entries(query)) {
      if (value === null || value === undefined) continue;
      if (typeof value === "object" || typeof value === "symbol" || typeof value === "function")
        throw wrongArgument(ARGUMENTS[name] ?? name, "a string, a number or a boolean", value);
      url.searchParams.set(name, String(value));
    }
    return url;
  }

  /** Send a request and return the JSON of its answer. */
  async json<T>(request: HttpRequest): Promise<T>;
  /** Send a request and return what `read` makes of the JSON of its answer. */
  async json<T, R>(request: HttpRequest, read: (answer: T) => R): Promise<R>;
  async json<T, R>(request: HttpRequest, read?: (answer: T) => R): Promise<T | R> {
    const answer = await this.send(request);
    const body = (await answerJson(answer)) as T;
    try {
      if (typeof body !== "object" || body === null) throw new TypeError("the answer is no object");
      return read === undefined ? body : read(body);
    } catch (error) {
      if (error instanceof DiptychError) throw error;
      throw unexpected(`an answer of another form: is this a diptych server? ${messageOf(error)}`, answer.status, error);
    }
  }

  /** Send a request and return its complete answer. Repeats it as docs/javascript-client.md says. */
  async send(request: HttpRequest): Promise<Answer> {
    return this.exchange(request, (open) => open.complete());
  }

  /** Send a request and yield its answer as it arrives. */
  async *stream(request: HttpRequest): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    const open = await this.exchange(request, async (open) => open);
    yield* open.chunks();
  }

  private async exchange<T>(request: HttpRequest, read: (open: OpenAnswer) => Promise<T>): Promise<T> {
    let attempt = 0;
    for (;;) {
      attempt++;
      const key = this.apiKey;
      let error: DiptychError;
      let waitSeconds: number | null;
      try {
        const open = await this.open(request, key);
        if (open.response.ok) return await read(open);
        const answer = await open.complete();
        error = await errorOf(answer);
        if (answer.status === 401 && (await this.renewKey(key, error))) {
          attempt--;
          continue;
        }
        waitSeconds = retryWait(answer, attempt);
      } catch (thrown) {
        if (!(thrown instanceof DiptychError) || thrown.kind !== "unreachable") throw thrown;
        error = thrown;
        waitSeconds = Math.min(2 ** attempt / 4, 2);
      }
      if (request.repeatable === false || attempt > this.retries || waitSeconds === null) throw error;
      await pause(waitSeconds, request.signal);
    }
  }

  /** Whether there is another key than the `refused` one; asks for it if the client does not have it yet. */
  private async renewKey(refused: string | null, error: DiptychError): Promise<boolean> {
    if (this.onUnauthorized === undefined) return false;
    if (this.apiKey === refused) {
      this.asking ??= Promise.resolve(this.onUnauthorized(error)).finally(() => (this.asking = null));
      const key = await this.asking;
      if (!key) return false;
      checkKey("the key that onUnauthorized returned", key);
      this.apiKey = key;
    }
    return true;
  }

  private async open(request: HttpRequest, key: string | null): Promise<OpenAnswer> {
    const url = this.url(request.path, request.query);
    const { body, headers } = encoded(request);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    const deadline = new Deadline(this.base, this.timeoutSeconds, request.signal);
    deadline.restart(sizeOf(body) / SLOWEST_UPLOAD);
    try {
      return new OpenAnswer(await this.responseTo(url, request, body, headers, deadline), deadline);
    } catch (error) {
      throw deadline.errorFor(error);
    }
  }

  private async responseTo(
    url: URL,
    request: HttpRequest,
    body: Body,
    headers: Headers,
    deadline: Deadline,
  ): Promise<Response> {
    const { method, onSent } = request;
    const { fetch } = this; // not called as a method: browsers refuse that
    const init: RequestInit & { duplex?: "half" } = { method, headers, body, signal: deadline.signal, redirect: "manual" };
    if (body === null || typeof body === "string") return fetch(url, init);
    // Otherwise Node keeps a copy of the whole body in memory, to send it again after a redirect.
    if (body instanceof Blob) Object.assign(init, { redirect: "error", window: null });
    if (onSent === undefined) return fetch(url, init);
    if (typeof XMLHttpRequest !== "undefined") return uploadByXhr(url, method, headers, body, deadline, onSent);
    const whole = body instanceof Blob ? body : await new Response(body).blob();
    if (body instanceof FormData) headers.set("Content-Type", whole.type); // with its boundary
    return fetch(url, { ...init, body: counted(whole, onSent), duplex: "half" } as RequestInit);
  }
}

/** Return the body of an answer as JSON. */
export async function answerJson(answer: Answer): Promise<unknown> {
  try {
    return JSON.parse(await answer.body.text());
  } catch (error) {
    const kind = answer.headers.get("content-type") ?? "no content type";
    throw unexpected(`an answer with ${kind}, which is not JSON: is this a diptych server?`, answer.status, error);
  }
}

/** Write `value` as JSON. Throws for what JSON lacks, such as NaN, which would silently become null. */
export function toJson(name: string, value: unknown): string {
  const checked = (key: string, one: unknown): unknown => {
    if (typeof one === "number" && !Number.isFinite(one)) throw invalidCall(`${name} has ${key}: ${one}, which JSON lacks`);
    return one;
  };
  let text: string | undefined;
  try {
    text = JSON.stringify(value, checked);
  } catch (error) {
    if (error instanceof DiptychError) throw error;
    throw invalidCall(`${name} cannot be written as JSON: ${messageOf(error)}`, error);
  }
  if (text === undefined) throw wrongArgument(name, "a value that JSON has", value);
  return text;
}

/** Wait, or throw an `aborted` error as soon as the signal is aborted. */
export async function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  throwIfAborted(signal);
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    signal?.addEventListener("abort", done);
  });
  throwIfAborted(signal);
}

/** Throw an `aborted` error if the signal is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new DiptychError("aborted", { cause: signal.reason });
}

type Body = FormData | Blob | string | null;

/** The time limit of one request, joined with the signal of its caller. */
class Deadline {
  private readonly controller = new AbortController();
  private readonly onAbort = (): void => this.controller.abort();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private timedOut = false;

  constructor(
    private readonly base: URL,
    private readonly seconds: number,
    private readonly caller: AbortSignal | undefined,
  ) {
    throwIfAborted(caller);
    caller?.addEventListener("abort", this.onAbort);
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Begin to wait anew, for some seconds longer. */
  restart(moreSeconds = 0): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timedOut = true;
      this.controller.abort();
    }, (this.seconds + moreSeconds) * 1000);
  }

  /** End the request, if it still runs. */
  close(): void {
    clearTimeout(this.timer);
    this.caller?.removeEventListener("abort", this.onAbort);
    this.controller.abort();
  }

  /** Tell why the request broke off, and end it. */
  errorFor(error: unknown): DiptychError {
    this.close();
    if (error instanceof DiptychError) return error;
    if (this.caller?.aborted) return new DiptychError("aborted", { cause: this.caller.reason });
    const { href } = this.base;
    if (this.timedOut)
      return new DiptychError("timeout", { detail: `${href} did not answer in ${this.seconds} s`, cause: error });
    const reason = messageOf(error instanceof Error && error.cause ? error.cause : error);
    if (reason === "unexpected redirect") return unexpected(REDIRECTED, 0, error);
    const detail = `cannot reach ${href}: ${reason}. Is \`diptych serve\` running?`;
    return new DiptychError("unreachable", { detail, cause: error });
  }
}

/** An answer whose head has arrived. Read it with one of the two methods, which ends the request. */
class OpenAnswer {
  constructor(
    readonly response: Response,
    private readonly deadline: Deadline,
  ) {}

  /** Read the whole answer. */
  async complete(): Promise<Answer> {
    const { status, headers } = this.response;
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for await (const chunk of this.chunks()) parts.push(chunk);
    return { status, headers, body: new Blob(parts, { type: headers.get("content-type") ?? "" }) };
  }

  /** Yield the answer as it arrives. */
  async *chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    try {
      const reader = this.response.body?.getReader();
      while (reader !== undefined) {
        this.deadline.restart();
        const { done, value } = await reader.read();
        if (done) return;
        yield value;
      }
    } catch (error) {
      throw this.deadline.errorFor(error);
    } finally {
      this.deadline.close();
    }
  }
}

function encoded(request: HttpRequest): { body: Body; headers: Headers } {
  const headers = new Headers(request.headers);
  if (request.json !== undefined) {
    headers.set("Content-Type", "application/json");
    return { body: toJson("the request", request.json), headers };
  }
  if (request.contentType !== undefined) headers.set("Content-Type", request.contentType);
  return { body: request.body ?? null, headers };
}

function sizeOf(body: Body): number {
  if (body === null) return 0;
  if (typeof body === "string") return body.length;
  if (body instanceof Blob) return body.size;
  let n = 0;
  for (const value of body.values()) n += typeof value === "string" ? value.length : value.size;
  return n;
}

function counted(body: Blob, onSent: NonNullable<HttpRequest["onSent"]>): ReadableStream<Uint8Array> {
  let sent = 0;
  const count = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      controller.enqueue(chunk);
      sent += chunk.byteLength;
      onSent(sent, body.size);
    },
  });
  return body.stream().pipeThrough(count);
}

/** Upload in a browser, where `fetch` cannot report its progress. */
function uploadByXhr(
  url: URL,
  method: string,
  headers: Headers,
  body: FormData | Blob,
  deadline: Deadline,
  onSent: NonNullable<HttpRequest["onSent"]>,
): Promise<Response> {
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
      resolve(new Response(status === 204 ? null : (request.response as Blob), { status, headers: headersOf(request) }));
    });
    request.addEventListener("error", () => reject(new TypeError("the connection failed")));
    request.addEventListener("abort", () => reject(new TypeError("the upload was cancelled")));
    deadline.signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function headersOf(request: XMLHttpRequest): Headers {
  const headers = new Headers();
  for (const line of request.getAllResponseHeaders().split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return headers;
}

async function errorOf(answer: Answer): Promise<DiptychError> {
  const { status, headers } = answer;
  if (status < 400) return unexpected(REDIRECTED, status);
  const body: unknown = await answerJson(answer).catch(() => null);
  const seconds = Number(headers.get("retry-after") ?? Number.NaN);
  const fields = {
    requestId: headers.get("x-request-id"),
    retryAfterSeconds: Number.isFinite(seconds) && seconds >= 0 ? seconds : null,
  };
  const error = problemError(body, status, fields);
  if (error.detail || isFromDiptych(status, headers)) return error;
  return problemError({ ...(body ?? {}), detail: status === 413 ? NOT_DIPTYCH_413 : NOT_DIPTYCH }, status, fields);
}

/** Whether diptych sent this error. Its 400 for an unreadable request is bare, without a problem body. */
function isFromDiptych(status: number, headers: Headers): boolean {
  return status === 400 || (headers.get("content-type") ?? "").startsWith(PROBLEM_JSON);
}

function retryWait({ status, headers }: Answer, attempt: number): number | null {
  const isProxy = PROXY_STATUSES.has(status) && !isFromDiptych(status, headers);
  if (status !== 429 && status !== 503 && !isProxy) return null;
  const asked = headers.get("retry-after");
  const seconds = asked !== null && asked.trim() !== "" ? Number(asked) : isProxy ? 2 ** attempt : Number.NaN;
  return seconds >= 0 && seconds <= MAX_RETRY_AFTER_S ? seconds : null;
}

function baseUrl(url: string | URL): URL {
  let base: URL;
  try {
    base = new URL(url);
  } catch (error) {
    throw wrongArgument("url", "a URL such as http://127.0.0.1:8000", url, error);
  }
  if (base.protocol !== "http:" && base.protocol !== "https:")
    throw wrongArgument("url", "a URL such as http://127.0.0.1:8000", base.href);
  base.search = base.hash = "";
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return base;
}

/**
 * Quote a segment of a path; `before` is the one before it. URLs drop `.` and resolve `..`: deleting the image `..` would
 * delete its collection.
 */
function quoted(segment: string | number, before: string | number = ""): string {
  if (before === "versions") {
    if (typeof segment === "object" || !/^\d+$/.test(String(segment))) throw wrongArgument("the version of the model", "a whole number", segment);
    return String(segment);
  }
  if (typeof segment !== "string") throw wrongArgument(ARGUMENTS[before] ?? "the name", "a string", segment);
  if (["", ".", ".."].includes(segment)) throw invalidCall(`${JSON.stringify(segment)} cannot be a name or an id`);
  try {
    return encodeURIComponent(segment);
  } catch (error) {
    throw invalidCall(`${JSON.stringify(segment.slice(0, 100))} has a lone surrogate, which is not a character`, error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
