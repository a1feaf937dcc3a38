/** Which pictures to ask about: those that the server proposes, without those that were answered or skipped here. */

import { useEffect, useMemo, useRef, useState } from "../html.js";
import { client, isAbort, isPassing, noteAway, noteModel, served } from "../server.js";
import { useStore } from "../store.js";
import { answeredIds, answers, give, takeBack } from "./answers.js";

const PAGE = 20;
const MAX_PAGE = 100;
const AHEAD = 8;  // further ones are read before these are answered
const RETRY_MS = 2000;

class Review {
  items = [];
  problem = null;
  skipped = new Set();
  #place;
  #onChange;
  #reading = null;
  #readAgain = false;
  #timer = 0;

  constructor(place, onChange) {
    this.#place = place;
    this.#onChange = onChange;
  }

  get current() {
    return this.items[0] ?? null;
  }

  get isReading() {
    return this.#reading !== null;
  }

  answer(labels) {
    give(this.#place, [this.items[0]], labels);
    this.leaveOutAnswered();
  }

  skip() {
    this.skipped.add(this.items.shift().id);
    this.readAhead();
  }

  askSkipped() {
    this.skipped.clear();
    this.read();
  }

  /** Take the newest answer back and ask about its picture again; returns the answer, or null. */
  undo() {
    const answer = takeBack(this.#place);
    if (answer) this.items = [...answer.items.slice(0, 1).filter(({ verdict }) => !verdict), ...this.items];
    this.#onChange();
    return answer;
  }

  /** Pictures are also answered in the columns. */
  leaveOutAnswered() {
    const answered = answeredIds(this.#place);
    if (this.items.some(({ id }) => answered.has(id))) this.items = this.items.filter(({ id }) => !answered.has(id));
  }

  /** The server proposes others once an answer is stored, such as pictures that are like the one that was reviewed. */
  readAhead() {
    this.#onChange();
    if (this.items.length < AHEAD) this.read();
  }

  /** Read more; `anew`: the proposals of those that are here may be others now. */
  async read({ anew = false } = {}) {
    if (this.#reading && !anew) {
      this.#readAgain = true;
      return;
    }
    this.close();
    const reading = new AbortController();
    this.#reading = reading;
    this.#readAgain = false;
    this.problem = null;
    const { collection, set } = this.#place;
    const { length: nWaiting } = answers.get().waiting;
    const limit = Math.min(MAX_PAGE, PAGE + this.items.length + this.skipped.size + nWaiting);
    try {
      const { images, model } = await client.labelProposals(collection, set, { limit, signal: reading.signal });
      noteModel(model);
      this.#take(images, anew);
    } catch (problem) {
      if (isAbort(problem) || reading.signal.aborted) return;
      this.problem = noteAway(problem);
      if (isPassing(problem)) this.#timer = setTimeout(() => this.read(), RETRY_MS);
    }
    this.#reading = null;
    this.#onChange();
    if (this.#readAgain && !this.problem) this.read();
  }

  /** The one that is shown stays where it is, also with another proposal. */
  #take(images, anew) {
    const answered = answeredIds(this.#place);
    const found = images.filter(({ id }) => !answered.has(id) && !this.skipped.has(id));
    const kept = anew ? this.items.slice(0, 1) : this.items;
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

/** The review of a set; its proposals are read anew for each revision. */
export function useReview(collection, set, revision) {
  const [, redraw] = useState(0);
  const review = useMemo(() => new Review({ collection, set }, () => redraw((n) => n + 1)), [collection, set]);
  const { touched } = useStore(answers);
  const { state } = useStore(served);
  review.leaveOutAnswered();
  useEffect(() => { review.read({ anew: true }); }, [review, revision]);
  const known = useRef(touched);
  useEffect(() => {
    if (known.current !== touched) review.readAhead();
    known.current = touched;
  }, [touched]);
  useEffect(() => { if (state === "ready" && review.problem) review.read(); }, [state]);
  useEffect(() => () => review.close(), [review]);
  return review;
}
