/** The collection that the page shows, page by page; knows nothing of how it is drawn. */

/** The sample pictures that a server may come with. Nothing is added to them: they are an example. */
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

  /** Where pictures that are added go. */
  get target() {
    return this.name === SAMPLES ? this.own : this.name;
  }

  /** `{images, next}`: up to `limit` pictures after the id `after` (null: from the first). */
  page(after, limit) {
    return this.#api.images(this.name, after, limit);
  }

  /** `{name, total, names}`: the collection to show and how many pictures it holds now, and all collections there
   *  are. Unless one is `asked` for, it is one's own, or the samples if they alone have pictures. */
  async choose(asked) {
    const { collections } = await this.#api.collections();
    const count = (wanted) => collections.find(({ name }) => name === wanted)?.n_images ?? 0;
    // What is shown stays, also when pictures are added elsewhere meanwhile.
    this.#automatic = [this.#automatic, this.own, SAMPLES].find(count) ?? this.own;
    const name = asked ?? this.#automatic;
    return { name, total: count(name), names: collections.map((collection) => collection.name) };
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

  /** Where the API keeps the picture with this id. */
  links(id) {
    const self = `collections/${encodeURIComponent(this.name)}/images/${encodeURIComponent(id)}`;
    return { self, thumbnail: `${self}/thumbnail`, original: `${self}/original` };
  }
}
