/** Deletes pictures a few seconds after they disappeared from the page, so that it can be undone. */

import { plural } from "../format.js";
import { toast } from "../parts/toasts.js";
import { client, readCollections } from "../server.js";
import { createStore } from "../store.js";

const UNDO_MS = 8000;
const AT_ONCE = 4;

/** `ids` of pictures that are hidden: they will be deleted, or are. `n` changes when some come back. */
export const hidden = createStore({ ids: new Set(), n: 0 });
const waiting = new Set();  // what is to be done when the page is closed

const keyOf = (collection, id) => `${collection}/${id}`;
const isHidden = (collection, id) => hidden.get().ids.has(keyOf(collection, id));
const hiddenWithout = (keys) => new Set([...hidden.get().ids].filter((key) => !keys.includes(key)));

/** The same list where nothing is hidden, as a rule. */
export const withoutHidden = (collection, items) =>
  (items && hidden.get().ids.size ? items.filter(({ id }) => !isHidden(collection, id)) : items);

/** Show a picture again that was added again after it was deleted. */
export function showAgain(collection, id) {
  if (isHidden(collection, id)) hidden.set({ ids: hiddenWithout([keyOf(collection, id)]) });
}

/**
 * Hide the pictures `items`, and delete them unless the user takes it back: `onUndo` is called once they are shown
 * again.
 */
export function deleteWithUndo(collection, items, { onUndo = () => {} } = {}) {
  const keys = items.map(({ id }) => keyOf(collection, id));
  const show = () => hidden.set({ ids: hiddenWithout(keys), n: hidden.get().n + 1 });
  hidden.set({ ids: new Set([...hidden.get().ids, ...keys]) });
  const deletion = { collection, ids: items.map(({ id }) => id) };
  waiting.add(deletion);
  const timer = setTimeout(async () => {
    waiting.delete(deletion);
    const problems = await deleteAll(collection, deletion.ids);
    if (problems.length) {
      show();
      toast(`${plural(problems.length, "picture")} could not be deleted: ${problems[0].detail}`);
    }
    await readCollections().catch(() => {});
  }, UNDO_MS);
  toast(`${plural(items.length, "picture")} deleted`, {
    shownMs: UNDO_MS,
    action: {
      label: "Undo",
      run: () => {
        clearTimeout(timer);
        waiting.delete(deletion);
        show();
        onUndo();
      },
    },
  });
}

/** Delete a few at a time; resolves to the problems. One that is gone already is deleted. */
async function deleteAll(collection, ids) {
  const left = [...ids];
  const problems = [];
  const work = async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      await client.deleteImage(collection, id).catch((problem) => {
        if (problem.status !== 404) problems.push(problem);
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return problems;
}

/** A page that is being closed waits for no answer: the browser sends the rest. */
function sendDeletions(collection, ids) {
  const headers = client.apiKey ? { Authorization: `Bearer ${client.apiKey}` } : {};
  for (const id of ids) {
    const path = `collections/${encodeURIComponent(collection)}/images/${encodeURIComponent(id)}`;
    fetch(new URL(path, client.url), { method: "DELETE", headers, keepalive: true }).catch(() => {});
  }
}

addEventListener("pagehide", () => { for (const { collection, ids } of waiting) sendDeletions(collection, ids); });
