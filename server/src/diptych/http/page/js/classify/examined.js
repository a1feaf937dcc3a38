/** Classifies pictures: each is embedded once, and its embedding is compared with the labels whenever they change. */

import { client, isAbort, noteAway, noteModel } from "../server.js";

const AT_ONCE = 3;
const CONFLICT = 409;  // the server has moved to another version: embed again

let nextKey = 0;

/** A picture to classify: a file of the user, or `{collection, id, name}` of a collection. */
export function pictureOf({ file, name, collection, id }) {
  return {
    key: nextKey++,
    name: name ?? id ?? "picture",
    blob: file ? async () => file : () => client.original(collection, id),
    embedded: null,  // {embedding, model}, a promise
  };
}

async function embed(picture) {
  const { images: [{ embedding }], model } = await client.embed({ images: [await picture.blob()] });
  noteModel(model);
  return { embedding, model };
}

async function classifyOnce(picture, labels, templates, signal) {
  picture.embedded ??= embed(picture);
  let embedded;
  try {
    embedded = await picture.embedded;
  } catch (problem) {
    picture.embedded = null;
    throw problem;
  }
  const { embedding, model } = embedded;
  const asked = { model, ...templates, signal };
  const { data: [{ predictions }] } = await client.classifyEmbeddings([embedding], labels, asked);
  return predictions;
}

async function classify(picture, labels, templates, signal) {
  try {
    return await classifyOnce(picture, labels, templates, signal);
  } catch (problem) {
    if (problem.status !== CONFLICT) throw problem;
    picture.embedded = null;
    return classifyOnce(picture, labels, templates, signal);
  }
}

/** The predictions of all pictures for the newest labels. */
export class Examined {
  #entries = new Map();  // key of the picture -> {predictions, elapsed_ms, problem, busy}
  #onChange;
  #asked = null;
  #controller = new AbortController();

  constructor(onChange) {
    this.#onChange = onChange;
  }

  entryOf = (picture) => this.#entries.get(picture?.key) ?? null;

  /** Classify `pictures`; what was asked before is dropped. `templates` are fields of the request, or null. */
  async ask(pictures, labels, templates) {
    const question = JSON.stringify([labels, templates]);
    this.#asked = [pictures, labels, templates];
    this.#controller.abort();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    if (!labels.length) return;
    const isLeft = ({ key }) => this.#entries.get(key)?.question !== question;
    const left = pictures.filter(isLeft).toReversed();  // the newest first
    for (const { key } of left) this.#entries.set(key, { ...this.#entries.get(key), busy: true });
    const work = async () => {
      for (let picture = left.shift(); picture && !signal.aborted; picture = left.shift()) {
        await this.#examine(picture, labels, templates, question, signal);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  async #examine(picture, labels, templates, question, signal) {
    const started = performance.now();
    try {
      const predictions = await classify(picture, labels, templates, signal);
      this.#entries.set(picture.key, { predictions, question, elapsed_ms: performance.now() - started, busy: false });
    } catch (problem) {
      if (isAbort(problem) || signal.aborted) return;
      noteAway(problem);
      this.#entries.set(picture.key, { problem, busy: false });
    }
    this.#onChange();
  }

  /** Ask again for what failed. */
  again = () => this.#asked && this.ask(...this.#asked);

  close() {
    this.#controller.abort();
  }
}
