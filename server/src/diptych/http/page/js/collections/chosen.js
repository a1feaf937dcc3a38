/** Names and states of collections, which one the views show, and where added pictures go. */

import { html, useEffect, useState } from "../html.js";
import { may, readCollections, served } from "../server.js";
import { useStore } from "../store.js";

/** What a name may be, as a pattern of HTML. */
export const NAME = "[a-z0-9][a-z0-9._\\-]{0,63}";

/** "ready", "embedding" or "unserved", with the reason where there is one. */
export function State({ collection: { state, reason, stays } }) {
  const kind = state === "ready" ? "good" : state === "embedding" ? "" : "bad";
  return html`<span class="tag ${kind}" title=${reason || stays || undefined}>${state}</span>`;
}

/** The collection of sample pictures that a server may have. Nothing is added to it. */
export const SAMPLES = "gallery";

const POLL_MS = 3000;
const MOST_STILL = 5;  // polls without a new picture

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

/**
 * The names of the collections that pictures are being added to, by anyone: the gallery fills itself after the first
 * start. Null until it is known. The counts are read until they stand still, or for as long as `isEndless`.
 */
export function useGrowing(isEndless) {
  const [growing, setGrowing] = useState(null);
  useEffect(() => {
    let nStill = 0;
    const look = async () => {
      if (document.hidden) return;
      const before = new Map(served.get().collections?.map(({ name, n_images: n }) => [name, n]));
      await readCollections().catch(() => {});
      const grown = served.get().collections.filter(({ name, n_images: n }) => n > (before.get(name) ?? 0));
      nStill = grown.length ? 0 : nStill + 1;
      if (grown.length || nStill > 1) setGrowing(grown.map(({ name }) => name));
      if (nStill >= MOST_STILL && !isEndless) clearInterval(timer);
    };
    const timer = setInterval(look, POLL_MS);
    return () => clearInterval(timer);
  }, [isEndless]);
  return growing;
}
