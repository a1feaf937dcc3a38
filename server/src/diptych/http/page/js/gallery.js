/** The collection that the page shows, page by page; knows nothing of how it is drawn. */

const NAMES_PAGE = 500;
const MAX_NAMES = 2000;

export class Gallery {
  #api;

  constructor(api, name) {
    this.#api = api;
    this.name = name;
  }

  /** `{images, next}`: up to `limit` pictures after the id `after` (null: from the first). */
  page(after, limit) {
    return this.#api.images(this.name, after, limit);
  }

  /** How many pictures the collection holds now; 0 while it does not exist. */
  async count() {
    const { collections } = await this.#api.collections();
    return collections.find(({ name }) => name === this.name)?.n_images ?? 0;
  }

  /** Distinct names in the metadata, at most 2,000. */
  async names() {
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
