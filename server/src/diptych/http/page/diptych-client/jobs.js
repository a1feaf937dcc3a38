import { checkedOptions } from "./checks.js";
import { DiptychError, unexpected } from "./errors.js";
import { pause } from "./transport.js";
const RECONNECT_AFTER_S = 1;
export async function* jobEvents(transport, id, options) {
    const { signal } = checkedOptions(options);
    let { after = -1 } = options;
    for (let nLost = 0;; nLost++) {
        let lost = null;
        try {
            const request = { method: "GET", path: ["jobs", id, "events"], query: { after }, signal };
            for await (const event of serverSentEvents(transport.stream(request))) {
                nLost = 0;
                if (event.type === "outcome") {
                    const outcome = parsed(event.data);
                    after = outcome.index;
                    yield { type: "outcome", outcome };
                }
                else if (event.type === "progress" || event.type === "end") {
                    yield { type: event.type, job: parsed(event.data) };
                    if (event.type === "end")
                        return;
                }
            }
        }
        catch (error) {
            if (!(error instanceof DiptychError) || !["unreachable", "timeout"].includes(error.kind))
                throw error;
            lost = error;
        }
        if (nLost >= transport.retries)
            throw lost ?? new DiptychError("unreachable", { detail: `the events of job ${id} broke off` });
        await pause(RECONNECT_AFTER_S, signal);
    }
}
export async function followJob(transport, id, options) {
    for await (const event of jobEvents(transport, id, options)) {
        if (event.type === "outcome")
            options.onOutcome?.(event.outcome);
        else if (event.type === "progress")
            options.onProgress?.(event.job);
        else
            return event.job;
    }
    throw new Error("jobEvents ends with `end`");
}
function parsed(data) {
    try {
        return JSON.parse(data);
    }
    catch (error) {
        throw unexpected("an event that is not JSON: is this a diptych server?", 200, error);
    }
}
async function* serverSentEvents(chunks) {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of chunks) {
        text += decoder.decode(chunk, { stream: true });
        const blocks = text.split("\n\n");
        text = blocks.pop() ?? "";
        for (const block of blocks) {
            const fields = new Map(block.split("\n").map((line) => [line.split(":", 1)[0], line.replace(/^[^:]*: ?/, "")]));
            const data = fields.get("data");
            if (data !== undefined)
                yield { type: fields.get("event") ?? "message", data };
        }
    }
}
