/** Code and commands to copy. */

import { html, useState } from "../html.js";

const COPIED_MS = 1500;

export function CodeBlock({ code, label }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(code);
    setCopied(true);
    setTimeout(() => setCopied(false), COPIED_MS);
  };
  return html`
    <div class="code">
      <pre tabindex="0" aria-label=${label}><code>${code}</code></pre>
      ${navigator.clipboard && html`
        <button type="button" class="quiet small" onClick=${copy}>${copied ? "Copied" : "Copy"}</button>`}
    </div>`;
}
