/** Code and commands to copy. */

import { html, useRef, useState } from "../html.js";

const COPIED_MS = 1500;

/**
 * Browsers give their clipboard only to pages of this machine and of HTTPS; elsewhere the text is selected and copied.
 */
async function copyFrom(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

export function CodeBlock({ code, label }) {
  const [said, setSaid] = useState("Copy");
  const text = useRef(null);
  const copy = async () => {
    setSaid((await copyFrom(text.current)) ? "Copied" : "Selected");
    setTimeout(() => setSaid("Copy"), COPIED_MS);
  };
  return html`
    <div class="code">
      <pre tabindex="0" aria-label=${label}><code ref=${text}>${code}</code></pre>
      <button type="button" class="quiet small" onClick=${copy}>${said}</button>
    </div>`;
}
