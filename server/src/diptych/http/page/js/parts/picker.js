/** Ways in which a user hands pictures over. */

import { html } from "../html.js";

/** A button that opens the file chooser. `onFiles` receives a list of files. */
export function PicturePicker({ onFiles, label, multiple = false, id, strong = false, children }) {
  const choose = ({ target }) => {
    if (target.files.length) onFiles([...target.files]);
    target.value = "";  // the same file may be chosen again
  };
  return html`
    <label class="${strong ? "strong" : "quiet"} button" title=${label}>
      <input id=${id} class="unseen" type="file" accept="image/*" multiple=${multiple} aria-label=${label}
        onChange=${choose}/>
      ${children}
    </label>`;
}

/** The pictures among pasted or dropped things. */
export const picturesIn = (transfer) => [...(transfer?.files ?? [])].filter(isPicture);

const isPicture = ({ type, name }) => type.startsWith("image/") || /\.(heic|avif|jxl)$/i.test(name);
