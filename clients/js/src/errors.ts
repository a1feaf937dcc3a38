/** The one error of this client, and how answers of the server become it. */

import type { Problem } from "./types.js";

/**
 * What went wrong:
 *
 * - `api`: the server refused the request; `status`, `type`, `title`, `detail` and `item` say why.
 * - `unreachable`: no connection, or it broke before the answer was complete.
 * - `timeout`: no answer within `timeoutSeconds`.
 * - `aborted`: the `signal` of the call was aborted; `cause` is its reason.
 * - `unexpected`: something answered, but not as a diptych server does.
 * - `unreadable`: an image cannot be read; `item` names it.
 * - `version-changed`: the server moved to another model version between two requests of one call.
 * - `invalid-call`: the arguments are of a wrong kind, contradict each other or cannot be sent. Nothing was sent, except
 *   earlier batches of an iterator.
 */
export type ErrorKind =
  | "api"
  | "unreachable"
  | "timeout"
  | "aborted"
  | "unexpected"
  | "unreadable"
  | "version-changed"
  | "invalid-call";

/** The fields of a `DiptychError`; those that are left out are empty. */
export interface ErrorFields {
  status?: number;
  type?: string;
  title?: string;
  detail?: string;
  item?: string | null;
  requestId?: string | null;
  retryAfterSeconds?: number | null;
  cause?: unknown;
}

/**
 * Every error that this client throws on purpose.
 *
 * @example
 * try {
 *   await client.collection("pets");
 * } catch (error) {
 *   if (!(error instanceof DiptychError)) throw error;
 *   if (error.status === 404) await client.createCollection("pets");
 *   else console.error(error.kind, error.message, error.requestId);
 * }
 */
export class DiptychError extends Error {
  override readonly name = "DiptychError";
  /** What went wrong, in one word. */
  readonly kind: ErrorKind;
  /** HTTP status, such as 422; 0 without an answer of the server. */
  readonly status: number;
  /** Type of the problem, such as `urn:diptych:error:too-large`; empty without one. */
  readonly type: string;
  /** The kind of error in a few words. */
  readonly title: string;
  /** What was wrong, with value and limit; may be empty. */
  readonly detail: string;
  /** The faulty part of the call, such as `images[3]` or `labels[1]`, counted over the whole call. */
  readonly item: string | null;
  /** The id of the request in the log of the server. */
  readonly requestId: string | null;
  /** After how many seconds the server asks to be tried again. */
  readonly retryAfterSeconds: number | null;

  constructor(kind: ErrorKind, fields: ErrorFields) {
    const { status = 0, title = TITLES[kind], detail = "", item = null, cause } = fields;
    const said = `${item ? `${item}: ` : ""}${detail || title}${status ? ` (HTTP ${status})` : ""}`;
    super(said, cause === undefined ? undefined : { cause });
    this.kind = kind;
    this.status = status;
    this.type = fields.type ?? "";
    this.title = title;
    this.detail = detail;
    this.item = item;
    this.requestId = fields.requestId ?? null;
    this.retryAfterSeconds = fields.retryAfterSeconds ?? null;
  }

  /** The same error with another `item`. */
  withItem(item: string | null): DiptychError {
    return new DiptychError(this.kind, { ...this, item, cause: this.cause });
  }
}

const TITLES: Record<ErrorKind, string> = {
  api: "The server refused the request",
  unreachable: "No answer from the server",
  timeout: "The server did not answer in time",
  aborted: "The call was cancelled",
  unexpected: "Unexpected answer",
  unreadable: "The image cannot be read",
  "version-changed": "The server moved to another model version",
  "invalid-call": "Invalid call",
};

/** Make the error for arguments that cannot be sent. */
export function invalidCall(detail: string, cause?: unknown): DiptychError {
  return new DiptychError("invalid-call", { detail, cause });
}

/** Make the error for an answer that no diptych server gives. */
export function unexpected(detail: string, status = 0, cause?: unknown): DiptychError {
  return new DiptychError("unexpected", { detail, status, cause });
}

/** Make the error for a problem (RFC 9457), as far as `body` is one. Leaves out the item that `detail` begins with. */
export function problemError(body: unknown, status: number, fields: ErrorFields = {}): DiptychError {
  const problem = (typeof body === "object" && body !== null ? body : {}) as Partial<Problem>;
  const item = problem.item ? String(problem.item) : null;
  const detail = String(problem.detail ?? "");
  return new DiptychError("api", {
    status,
    type: String(problem.type ?? ""),
    title: String(problem.title ?? `HTTP ${status}`),
    detail: item && detail.startsWith(`${item}: `) ? detail.slice(item.length + 2) : detail,
    item,
    ...fields,
    requestId: problem.request_id ?? fields.requestId ?? null,
  });
}
