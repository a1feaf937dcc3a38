/** Asks for the API key. */

import { html, useEffect, useRef } from "../html.js";
import { keyQuestion } from "../server.js";
import { useStore } from "../store.js";

export function KeyDialog() {
  const { ask } = useStore(keyQuestion);
  return ask && html`<${Form} ...${ask}/>`;
}

function Form({ refused, resolve }) {
  const dialog = useRef(null);
  const input = useRef(null);
  useEffect(() => { dialog.current.showModal(); }, []);
  const submit = (event) => {
    event.preventDefault();
    resolve(input.current.value.trim() || null);
  };
  return html`
    <dialog id="key-dialog" class="dialog" ref=${dialog} aria-labelledby="key-title" onClose=${() => resolve(null)}>
      <form class="dialog-body" onSubmit=${submit}>
        <h2 id="key-title">This server asks for a key</h2>
        <p>It is kept in this tab only, and forgotten when the tab is closed.</p>
        ${refused && html`<p id="key-refused" class="refused" role="alert">The server refused that key.</p>`}
        <label for="key">API key</label>
        <input id="key" ref=${input} type="password" autocomplete="off" required
          pattern="[ -~]+" title="Letters, digits and signs of ASCII: a header carries no others"/>
        <p class="row end">
          <button type="button" id="key-cancel" class="quiet" onClick=${() => dialog.current.close()}>Cancel</button>
          <button type="submit" class="strong">Use this key</button>
        </p>
      </form>
    </dialog>`;
}
