/** Short messages at the bottom, such as "3 pictures deleted" with "Undo". */

import { html } from "../html.js";
import { createStore, useStore } from "../store.js";

const SHOWN_MS = 6000;
const toasts = createStore({ list: [] });
let nextId = 0;

/** Show a message; `action` is `{label, run}`. Returns a function that removes it. */
export function toast(text, { action = null, shown_ms = SHOWN_MS } = {}) {
  const id = nextId++;
  const remove = () => toasts.set({ list: toasts.get().list.filter((one) => one.id !== id) });
  toasts.set({ list: [...toasts.get().list, { id, text, action, remove }] });
  setTimeout(remove, shown_ms);
  return remove;
}

export function Toasts() {
  const { list } = useStore(toasts);
  return html`
    <div class="toasts" role="status" aria-live="polite">
      ${list.map(({ id, text, action, remove }) => html`
        <p class="toast" key=${id}>
          <span>${text}</span>
          ${action && html`<button type="button" onClick=${() => { remove(); action.run(); }}>${action.label}</button>`}
        </p>`)}
    </div>`;
}
