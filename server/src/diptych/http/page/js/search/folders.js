/** The folders that the pictures of a collection come from, as a tree that opens level by level. */

import { count } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { client } from "../server.js";

const UNREAD = { folders: [], n_folders: 0 };

/** The folders within `under`, with the pictures that pass the `filter`. Choosing one takes all within it, too. */
export function Folders({ under, ...rest }) {
  const { collection, filter } = rest;
  const [{ folders, n_folders: n }, setLevel] = useState(UNREAD);
  useEffect(() => {
    const controller = new AbortController();
    client.folders(collection, { under, filter: filter ?? undefined, signal: controller.signal })
      .then(setLevel, () => {});
    return () => controller.abort();
  }, [collection, under, JSON.stringify(filter)]);
  return html`
    <ul class="folders">
      ${folders.map((one) => html`<${Folder} key=${one.folder} ...${rest} ...${one}/>`)}
      ${n > folders.length && html`<li class="status">and ${count(n - folders.length)} more</li>`}
    </ul>`;
}

function Folder({ folder, n_images: n, n_folders: nWithin, ...rest }) {
  const { chosen, set } = rest;
  const [isOpen, setOpen] = useState(Boolean(chosen?.startsWith(`${folder}/`)));
  const name = folder === "." ? "in no folder" : folder.split("/").at(-1);
  return html`
    <li>
      <div class="folder">
        <button type="button" class="icon small" disabled=${!nWithin} aria-expanded=${isOpen}
          aria-label="Folders in ${name}" onClick=${() => setOpen(!isOpen)}>›</button>
        <label class="check" title=${folder}>
          <input type="checkbox" checked=${chosen === folder}
            onChange=${({ target }) => set(target.checked ? { under: folder } : null)}/>
          <span>${name}</span>
          <span class="number">${count(n)}</span>
        </label>
      </div>
      ${isOpen && html`<${Folders} ...${rest} under=${folder}/>`}
    </li>`;
}
