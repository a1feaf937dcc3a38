/** Short messages at the bottom, such as "3 pictures deleted" with "Undo". */

import { html, useEffect } from "../html.js";
import { createStore, useStore } from "../store.js";

const SHOWN_MS = 6000;
const toasts = createStore({ list: [] });
let nextId = 0;

/** Show a message; `action` is `{label, run}`, which Ctrl+Z runs, too. Returns a function that removes it. */
export function toast(text, { action = null, shownMs = SHOWN_MS } = {}) {
  const id = nextId++;
  const remove = () => toasts.set({ list: toasts.get().list.filter((one) => one.id !== id) });
  toasts.set({ list: [...toasts.get().list, { id, text, action, remove }] });
  setTimeout(remove, shownMs);
  return remove;
}

/** Ctrl+Z does not run what older messages offer: something newer can be taken back. */
export function unbindUndo() {
  toasts.set({ list: toasts.get().list.map((one) => ({ ...one, isUnbound: true })) });
}

/** The newest message that offers something; texts have an undo of their own. */
function undo(event) {
  if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.target.closest?.("input, textarea")) return;
  const newest = toasts.get().list.findLast(({ action, isUnbound }) => action && !isUnbound);
  if (!newest) return;
  event.preventDefault();
  newest.remove();
  newest.action.run();
}

export function Toasts() {
  const { list } = useStore(toasts);
  useEffect(() => {
    addEventListener("keydown", undo);
    return () => removeEventListener("keydown", undo);
  }, []);
  return html`
    <div class="toasts" role="status" aria-live="polite">
      ${list.map(({ id, text, action, remove }) => html`
        <p class="toast" key=${id}>
          <span>${text}</span>
          ${action && html`
            <button type="button" title="Ctrl+Z" onClick=${() => { remove(); action.run(); }}>${action.label}</button>`}
        </p>`)}
    </div>`;
}
