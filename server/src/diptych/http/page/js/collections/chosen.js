/** Which collection the views show, and where added pictures go. */

import { may, served } from "../server.js";
import { useStore } from "../store.js";

/** The collection of sample pictures that a server may have. Nothing is added to it. */
export const SAMPLES = "gallery";

export const useCollections = () => useStore(served).collections ?? [];

/**
 * The collection to show: the asked one; else the user's own, or the samples if only they have pictures, or if the key
 * sees neither, the first that it sees. `{name, n_images, missing}`
 */
export function shownCollection(collections, asked) {
  const own = served.get().version?.default_collection;
  const find = (name) => collections.find((one) => one.name === name);
  if (asked) return find(asked) ?? { name: asked, n_images: 0, missing: asked !== own };
  const filled = [own, SAMPLES].map(find).find((one) => one?.n_images);
  return filled ?? find(own) ?? collections[0] ?? { name: own, n_images: 0, missing: false };
}

/** The collection that pictures are added to while this one is shown, or null where the key may not write. */
export function addable({ name }) {
  if (!may("write")) return null;
  return name === SAMPLES ? served.get().version?.default_collection : name;
}
