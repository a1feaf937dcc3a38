/** Sends many pictures to their collections, while more may be queued. */

import { Client, fileMetadata } from "../../diptych-client/index.js";
import { client, served } from "../server.js";
import { showAgain } from "../search/deleting.js";

const AT_ONCE = 2;  // requests: one arrives while the other is worked on
const BATCH = 16;  // small, so that the progress is seen
const N_NEWEST = 100;
const RETRIES = 8;  // a full queue is waited for

/**
 * A queue of pictures that may grow while it is sent. `counts` has the outcomes, `newest` the last ones of single
 * pictures.
 */
export class Adding {
  counts = { created: 0, unchanged: 0, replaced: 0, failed: 0 };
  failures = [];  // {name, reason}
  newest = [];  // {name, status}, the last one first
  total = 0;
  #waiting = [];  // {name, file, collection}
  #onChange;
  #controller = new AbortController();
  #client = new Client(undefined, { apiKey: client.apiKey, retries: RETRIES });

  /** `onChange` is called when there are new outcomes. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  get done() {
    return Object.values(this.counts).reduce((sum, n) => sum + n, 0);
  }

  get stopped() {
    return this.#controller.signal.aborted;
  }

  /** Queue a list of {name, file, collection}. */
  push(pictures) {
    this.total += pictures.length;
    this.#waiting.push(...pictures);
    this.#onChange();
  }

  /** Stop. Acknowledged pictures stay added; those being sent may have been added or not. */
  stop() {
    this.#controller.abort();
    this.#onChange();
  }

  /**
   * Send until all have an outcome, or until stopped. Throws errors that concern all of them; it may then be called
   * again.
   */
  async run() {
    while (this.#waiting.length && !this.stopped) {
      const { collection } = this.#waiting[0];
      const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, () => this.#send(collection)));
      const failed = ended.find(({ status }) => status === "rejected");
      if (failed && !this.stopped) throw failed.reason;
    }
  }

  async #send(collection) {
    while (this.#waiting[0]?.collection === collection && !this.stopped) await this.#sendBatch(collection);
  }

  /** Take pictures for one collection off the queue; those without an outcome go back to it. */
  async #sendBatch(collection) {
    const most = Math.min(BATCH, served.get().version.max_add_items);  // the server makes a job of more
    const end = this.#waiting.findIndex((picture, i) => i === most || picture.collection !== collection);
    const taken = this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
    const items = taken.map(({ name, file }) => (
      { image: file, metadata: { file: fileMetadata(name, file.lastModified) } }));
    const settled = new Set();
    const onOutcome = ({ index, id, status, error }) => {
      this.counts[status] += 1;
      settled.add(index);
      if (status === "created") showAgain(collection, id);
      this.newest = [{ name: taken[index].name, status }, ...this.newest].slice(0, N_NEWEST);
      if (error) this.failures.push({ name: taken[index].name, reason: error.detail || error.title });
      this.#onChange();
    };
    try {
      await this.#client.add(items, { collection, onOutcome, signal: this.#controller.signal });
    } finally {
      this.#waiting.unshift(...taken.filter((_, index) => !settled.has(index)));
    }
  }
}
