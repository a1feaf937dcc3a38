/** Jobs: adds that run in the background, followed by server-sent events. */

import { checkedOptions } from "./checks.js";
import { DiptychError, unexpected } from "./errors.js";
import { pause, type CallOptions, type Transport } from "./transport.js";
import type { Job, JobOutcome } from "./types.js";

/** What happens in a job: an `outcome` of one image, `progress`, and finally `end`. */
export type JobEvent = { type: "outcome"; outcome: JobOutcome } | { type: "progress" | "end"; job: Job };

/** Options of `jobEvents`. */
export interface JobEventsOptions extends CallOptions {
  /** Only outcomes of items after this index; all by default. */
  after?: number;
}

/** Options of `followJob`. */
export interface FollowJobOptions extends JobEventsOptions {
  /** Called for each item, in order. */
  onOutcome?: (outcome: JobOutcome) => void;
  /** Called when the job has gone on. */
  onProgress?: (job: Job) => void;
}

const RECONNECT_AFTER_S = 1;

/** Yield the events of a job until it ends. After a lost connection it goes on behind the last outcome. */
export async function* jobEvents(
  transport: Transport,
  id: string,
  options: JobEventsOptions,
): AsyncGenerator<JobEvent, void, undefined> {
  const { signal } = checkedOptions(options);
  let { after = -1 } = options;
  for (let nLost = 0; ; nLost++) {
    let lost: unknown = null;
    try {
      const request = { method: "GET", path: ["jobs", id, "events"], query: { after }, signal } as const;
      for await (const event of serverSentEvents(transport.stream(request))) {
        nLost = 0;
        if (event.type === "outcome") {
          const outcome = parsed<JobOutcome>(event.data);
          after = outcome.index;
          yield { type: "outcome", outcome };
        } else if (event.type === "progress" || event.type === "end") {
          yield { type: event.type, job: parsed<Job>(event.data) };
          if (event.type === "end") return;
        }
      }
    } catch (error) {
      if (!(error instanceof DiptychError) || !["unreachable", "timeout"].includes(error.kind)) throw error;
      lost = error;
    }
    if (nLost >= transport.retries)
      throw lost ?? new DiptychError("unreachable", { detail: `the events of job ${id} broke off` });
    await pause(RECONNECT_AFTER_S, signal);
  }
}

/** Wait for the end of a job. */
export async function followJob(transport: Transport, id: string, options: FollowJobOptions): Promise<Job> {
  for await (const event of jobEvents(transport, id, options)) {
    if (event.type === "outcome") options.onOutcome?.(event.outcome);
    else if (event.type === "progress") options.onProgress?.(event.job);
    else return event.job;
  }
  throw new Error("jobEvents ends with `end`");
}

function parsed<T>(data: string): T {
  try {
    return JSON.parse(data) as T;
  } catch (error) {
    throw unexpected("an event that is not JSON: is this a diptych server?", 200, error);
  }
}

/** Parse a stream of events (WHATWG HTML, 9.2), which the server separates by empty lines. */
async function* serverSentEvents(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ type: string; data: string }, void, undefined> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of chunks) {
    text += decoder.decode(chunk, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = new Map(block.split("\n").map((line) => [line.split(":", 1)[0], line.replace(/^[^:]*: ?/, "")]));
      const data = fields.get("data");
      if (data !== undefined) yield { type: fields.get("event") ?? "message", data };
    }
  }
}
