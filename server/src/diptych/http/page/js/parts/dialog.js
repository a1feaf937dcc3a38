/** A modal dialog: the browser keeps the focus inside and closes it on Escape. */

import { html, useEffect, useRef } from "../html.js";

/** `onClose` is called when it was closed by the user; the caller then draws it no longer. */
export function Dialog({ title, onClose, wide = false, children }) {
  const dialog = useRef(null);
  useEffect(() => { dialog.current.showModal(); }, []);
  const onBackdrop = ({ target }) => { if (target === dialog.current) dialog.current.close(); };
  return html`
    <dialog ref=${dialog} class=${wide ? "dialog wide" : "dialog"} aria-label=${title} onClose=${onClose}
      onClick=${onBackdrop}>
      <div class="dialog-body">
        <header class="dialog-head">
          <h2>${title}</h2>
          <button type="button" class="icon" aria-label="Close" onClick=${() => dialog.current.close()}>×</button>
        </header>
        ${children}
      </div>
    </dialog>`;
}

/** Asks before something that cannot be taken back. */
export function Confirm({ title, action, onConfirm, onClose, children }) {
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      ${children}
      <p class="row end">
        <button type="button" class="quiet" onClick=${onClose}>Cancel</button>
        <button type="button" class="strong danger" onClick=${onConfirm}>${action}</button>
      </p>
    <//>`;
}
