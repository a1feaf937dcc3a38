/** Which pictures to ask about: those that the server proposes, without those that were answered or skipped here. */

import { useEffect, useMemo, useRef, useState } from "../html.js";
import { client, isAbort, isPassing, noteAway, noteModel, served } from "../server.js";
import { useStore } from "../store.js";
import { answers, give, now, storedTimes, takeBack } from "./answers.js";

const PAGE = 20;
const MAX_PAGE = 100;
const AHEAD = 8;  // further ones are read before these are answered
const RETRY_MS = 2000;
const EMPTY_MS = 5000;  // pictures may be added, or replaced, and others may withdraw what they said

class Review {
  items = [];
  problem = null;
  skipped = new Map();  // id -> picture, the newest last
  #place;
  #onChange;
  #reading = null;
  #readAgain = false;
  #isQuiet = false;
  #model = null;
  #timer = 0;

  constructor(place, onChange) {
    this.#place = place;
    this.#onChange = onChange;
  }

  get current() {
    return this.items[0] ?? null;
  }

  get isReading() {
    return this.#reading !== null && !this.#isQuiet;
  }

  answer(labels) {
    give(this.#place, [this.items[0]], labels);
    this.leaveOutAnswered();
  }

  skip() {
    const item = this.items.shift();
    this.skipped.set(item.id, item);
    this.readAhead();
  }

  /** Ask about the picture that was skipped last. */
  goBack() {
    const item = [...this.skipped.values()].at(-1);
    if (!item) return;
    this.skipped.delete(item.id);
    this.items = [item, ...this.items];
    this.#onChange();
  }

  askSkipped() {
    this.skipped.clear();
    this.read();
  }

  /** Take the newest answer back and ask about its picture again; returns the answer, or null. */
  undo() {
    const answer = takeBack(this.#place);
    const asked = answer?.items.slice(0, 1).filter(({ verdict }) => !verdict) ?? [];
    const others = this.items.filter(({ id }) => asked.every((item) => item.id !== id));
    this.items = [...asked.map((item) => ({ ...item, since: now() })), ...others];
    this.#onChange();
    return answer;
  }

  /** Pictures are also answered in the columns. */
  leaveOutAnswered() {
    const times = storedTimes(this.#place);
    const isLeft = ({ id, since }) => !(times.get(id) > since);
    if (!this.items.every(isLeft)) this.items = this.items.filter(isLeft);
  }

  /** The server proposes others once an answer is stored, such as pictures that are like the one that was reviewed. */
  readAhead() {
    this.#onChange();
    if (this.items.length < AHEAD) this.read();
  }

  /** Read anew if another version than that of the proposals serves by now. */
  noteVersion(model) {
    if (this.#model && this.#model !== JSON.stringify(model)) this.read({ anew: true });
  }

  /** Read more; `anew`: the proposals of those that are here may be others now; `isQuiet`: nobody waits for them. */
  async read({ anew = false, isQuiet = false } = {}) {
    if (this.#reading && !anew) {
      this.#readAgain = true;
      return;
    }
    this.close();
    const reading = new AbortController();
    this.#reading = reading;
    this.#readAgain = false;
    this.#isQuiet = isQuiet;
    this.problem = null;
    const { collection, set } = this.#place;
    const { length: nWaiting } = answers.get().waiting;
    const since = now();
    const limit = Math.min(MAX_PAGE, PAGE + this.items.length + this.skipped.size + nWaiting);
    try {
      const { images, model } = await client.labelProposals(collection, set, { limit, signal: reading.signal });
      noteModel(model);
      const version = JSON.stringify(model);
      this.#take(images.map((item) => ({ ...item, since })), anew || version !== this.#model, version);
    } catch (problem) {
      if (isAbort(problem) || reading.signal.aborted) return;
      this.problem = noteAway(problem);
      if (isPassing(problem)) this.#timer = setTimeout(() => this.read(), RETRY_MS);
    }
    this.#reading = null;
    this.#onChange();
    if (this.#readAgain && !this.problem) this.read();
    else if (!this.current && !this.problem) this.#timer = setTimeout(() => this.read({ isQuiet: true }), EMPTY_MS);
  }

  /** The one that is shown stays where it is, also with another proposal. */
  #take(images, anew, version) {
    const times = storedTimes(this.#place);
    const found = images.filter(({ id, since }) => !(times.get(id) > since) && !this.skipped.has(id));
    const isOther = this.#model !== null && version !== this.#model;  // what it proposed does not hold any more
    const shown = this.items.slice(0, 1).filter(({ id }) => !isOther || found.some((item) => item.id === id));
    this.#model = version;
    const kept = anew ? shown : this.items;
    const byId = new Map(found.map((item) => [item.id, item]));
    const known = anew ? kept.map((item) => byId.get(item.id) ?? item) : kept;
    this.items = [...known, ...found.filter(({ id }) => !kept.some((item) => item.id === id))];
  }

  close() {
    clearTimeout(this.#timer);
    this.#reading?.abort();
    this.#reading = null;
  }
}

/**
 * The review of a set; its proposals are read anew for each `revision`, each `model` that serves, and after somebody
 * else has changed something (`nOthers` times).
 */
export function useReview(collection, set, revision, model, nOthers) {
  const [, redraw] = useState(0);
  const review = useMemo(() => new Review({ collection, set }, () => redraw((n) => n + 1)), [collection, set]);
  const { touched, nSurprises } = useStore(answers);
  const { state } = useStore(served);
  review.leaveOutAnswered();
  useEffect(() => { review.read({ anew: true }); }, [review, revision, nSurprises, nOthers]);
  useEffect(() => { if (model) review.noteVersion(model); }, [review, JSON.stringify(model)]);
  const known = useRef(touched);
  useEffect(() => {
    if (known.current !== touched) review.readAhead();
    known.current = touched;
  }, [touched]);
  useEffect(() => { if (state === "ready" && review.problem) review.read(); }, [state]);
  useEffect(() => () => review.close(), [review]);
  return review;
}
