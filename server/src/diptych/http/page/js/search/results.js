/** Reads what a search or a collection shows, in pages, as far as someone has scrolled. */

import { useEffect, useState } from "../html.js";
import { noteAway } from "../server.js";

/**
 * A list that grows. `readPage(start, signal)` resolves to `{items, done, ...about}`: the items from `start` on, and
 * whether these are the last ones; `about` of the first page is kept in `about`.
 */
class Results {
  items = [];
  done = false;
  problem = null;
  about = {};
  #readPage;
  #onChange;
  #wanted = 0;
  #reading = false;
  #controller = new AbortController();

  constructor(readPage, onChange) {
    this.#readPage = readPage;
    this.#onChange = onChange;
  }

  /** Read until there are `n` items, or all. */
  async want(n) {
    this.#wanted = Math.max(this.#wanted, n);
    if (this.#reading || this.problem) return;
    this.#reading = true;
    while (!this.done && !this.problem && this.items.length < this.#wanted) await this.#read();
    this.#reading = false;
  }

  async #read() {
    const { signal } = this.#controller;
    try {
      const { items, done, ...about } = await this.#readPage(this.items.length, signal);
      if (signal.aborted) return this.#end();
      if (!this.items.length) this.about = about;
      this.items = [...this.items, ...items];
      this.done = done;
    } catch (problem) {
      if (signal.aborted) return this.#end();
      this.problem = noteAway(problem);
    }
    this.#onChange();
  }

  #end() {
    this.done = true;
  }

  /** Go on after a problem: what was read stays. */
  again() {
    this.problem = null;
    this.want(1);
  }

  /** Show something else of one item. */
  change(id, changes) {
    this.items = this.items.map((item) => (item.id === id ? { ...item, ...changes } : item));
    this.#onChange();
  }

  close() {
    this.#controller.abort();
  }
}

/**
 * The results for `key`: a new list is read when the key changes, and the former one stays until the first page of the
 * new one is there. `results` is null before the first answer; `stale` says that it belongs to an older key.
 */
export function useResults(key, readPage) {
  const [, redraw] = useState(0);
  const [shown, setShown] = useState(null);
  useEffect(() => {
    if (readPage === null) return undefined;
    const results = new Results(readPage, () => {
      setShown({ key, results });
      redraw((n) => n + 1);
    });
    results.want(1);
    return () => results.close();
  }, [key]);
  return { results: shown?.results ?? null, stale: shown?.key !== key, retry: () => shown?.results.again() };
}
