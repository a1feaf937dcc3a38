/** Reads the shown collection, page by page. */

/** The collection of sample pictures that a server may have. Nothing is added to it. */
export const SAMPLES = "gallery";
const NAMES_PAGE = 500;
const MAX_NAMES = 2000;

export class Gallery {
  #api;
  #automatic = null;  // what is shown where the address names no collection
  #names = new Map(); // collection -> names of its pictures

  constructor(api, own) {
    this.#api = api;
    this.own = own;  // where pictures go that are added while the samples are shown
    this.name = own;
  }

  /** The collection that added pictures go to. */
  get target() {
    return this.name === SAMPLES ? this.own : this.name;
  }

  /** `{images, next}`: up to `limit` pictures after the id `after` (null: from the start). */
  page(after, limit) {
    return this.#api.images(this.name, after, limit);
  }

  /** `{name, total, names}`: the collection to show, its number of pictures, and the names of all collections.
   *  Unless one is `asked` for, it is the user's own, or the samples if only they have pictures, or if the key sees
   *  neither, the first that it sees. */
  async choose(asked) {
    const { collections } = await this.#api.collections();
    const names = collections.map((collection) => collection.name);
    const count = (wanted) => collections.find(({ name }) => name === wanted)?.n_images ?? 0;
    // Keep showing the same collection, even if pictures are added to another.
    this.#automatic = [this.#automatic, this.own, SAMPLES].find(count)
      ?? (names.includes(this.own) ? this.own : names[0] ?? this.own);
    const name = asked ?? this.#automatic;
    return { name, total: count(name), names };
  }

  /** Distinct names in the metadata, at most 2,000. */
  async names() {
    const { name } = this;
    if (!this.#names.has(name)) this.#names.set(name, await this.#namesInMetadata());
    return this.#names.get(name);
  }

  async #namesInMetadata() {
    const names = new Set();
    let next = null;
    do {
      const page = await this.page(next, NAMES_PAGE);
      for (const { metadata } of page.images) if (metadata?.name) names.add(metadata.name);
      next = page.next;
    } while (next !== null && names.size < MAX_NAMES);
    return [...names];
  }

  /** The API path of the picture with this id. */
  links(id) {
    const self = `collections/${encodeURIComponent(this.name)}/images/${encodeURIComponent(id)}`;
    return { self, thumbnail: `${self}/thumbnail`, original: `${self}/original` };
  }
}
