export class DiptychError extends Error {
    name = "DiptychError";
    kind;
    status;
    type;
    title;
    detail;
    item;
    requestId;
    retryAfterSeconds;
    constructor(kind, fields) {
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
    withItem(item) {
        return new DiptychError(this.kind, { ...this, item, cause: this.cause });
    }
}
const TITLES = {
    api: "The server refused the request",
    unreachable: "No answer from the server",
    timeout: "The server did not answer in time",
    aborted: "The call was cancelled",
    unexpected: "Unexpected answer",
    unreadable: "The image cannot be read",
    "version-changed": "The server moved to another model version",
    "invalid-call": "Invalid call",
};
export function invalidCall(detail, cause) {
    return new DiptychError("invalid-call", { detail, cause });
}
export function unexpected(detail, status = 0, cause) {
    return new DiptychError("unexpected", { detail, status, cause });
}
export function problemError(body, status, fields = {}) {
    const problem = (typeof body === "object" && body !== null ? body : {});
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
