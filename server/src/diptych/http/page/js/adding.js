/** Sends many pictures to their collections, in batches. */

import { Problem } from "./api.js";

const CHUNK_FILES = 16;
const CHUNK_BYTES = 8_000_000;
const AT_ONCE = 2;  // requests: one arrives while the other is worked on
const JOB_POLL_MS = 500;
const OF_ITEMS = new Set([400, 413, 415, 422]);  // what the server says of a picture, not of all of them

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** A queue of pictures that may grow while it is sent. `counts` and `failures` hold the outcomes. */
export class Adding {
  counts = { created: 0, unchanged: 0, replaced: 0, failed: 0 };
  failures = [];  // {name, reason}
  total = 0;
  #waiting = [];  // chunks: lists of {name, file, collection}, each for one collection
  #api;
  #onChange;
  #controller = new AbortController();

  /** `onChange` is called when there are new outcomes. */
  constructor(api, onChange) {
    this.#api = api;
    this.#onChange = onChange;
  }

  get done() {
    return Object.values(this.counts).reduce((sum, n) => sum + n, 0);
  }

  get stopped() {
    return this.#controller.signal.aborted;
  }

  /** Queue pictures for one collection: a list of {name, file, collection}. */
  push(pictures) {
    this.total += pictures.length;
    let n_bytes = 0;
    let chunk = null;
    for (const picture of pictures) {
      n_bytes += picture.file.size;
      if (chunk === null || chunk.length === CHUNK_FILES || n_bytes > CHUNK_BYTES) {
        this.#waiting.push(chunk = []);
        n_bytes = picture.file.size;
      }
      chunk.push(picture);
    }
    this.#onChange();
  }

  /** Stop. Acknowledged pictures stay added; those being sent may have been added or not. */
  stop() {
    this.#controller.abort();
    this.#onChange();
  }

  /** Send until all have an outcome, or until stopped. Throws errors that concern all of them; it may then be called again. */
  async run() {
    let problem = null;
    const work = async () => {
      while (this.#waiting.length && !this.stopped && problem === null) {
        const chunk = this.#waiting.shift();
        try {
          await this.#send(chunk);
        } catch (error) {
          const found = this.stopped ? null : await this.#afterFailure(chunk, error);
          problem ??= found;
        }
        this.#onChange();
      }
    };
    do await Promise.all(Array.from({ length: AT_ONCE }, work));
    while (this.#waiting.length && !this.stopped && problem === null);  // pushed at the last moment
    if (problem) throw problem;
  }

  async #send(chunk) {
    const answer = await this.#api.add(chunk[0].collection, chunk, this.#controller.signal);
    if (answer.outcomes) this.#note(chunk, answer.outcomes);
    else await this.#follow(chunk, answer);
  }

  /** Wait for an add that the server made a job, as its limit is lower than the batch size. */
  async #follow(chunk, { id }) {
    let after = -1;
    for (let cancelled = false; ;) {
      if (this.stopped && !cancelled) cancelled = Boolean(await this.#api.cancelJob(id));
      const { job, outcomes } = await this.#api.outcomes(id, after);
      this.#note(chunk, outcomes);
      after = outcomes.at(-1)?.index ?? after;
      if (job.state === "failed") throw new Problem(0, "The server could not add them", job.reason);
      if (job.finished_at) return;
      this.#onChange();
      await pause(JOB_POLL_MS);
    }
  }

  #note(chunk, outcomes) {
    for (const { index, status, error } of outcomes) {
      this.counts[status] += 1;
      if (error) this.failures.push({ name: chunk[index].name, reason: error.detail ?? error.title });
      chunk[index].done = true;
    }
  }

  /** Null if sending can continue, else the error that concerns all pictures. */
  async #afterFailure(chunk, error) {
    const left = chunk.filter(({ done }) => !done);
    if (OF_ITEMS.has(error.status) && left.length === 1) {
      this.#note(left, [{ index: 0, status: "failed", error: { detail: error.message } }]);
      return null;
    }
    if (OF_ITEMS.has(error.status)) {
      this.#waiting.unshift(...left.map((picture) => [picture]));
      return null;
    }
    this.#waiting.unshift(left);
    if (error.status !== 429) return error;
    await pause(1000 * error.retryAfter_s);
    return null;
  }
}
