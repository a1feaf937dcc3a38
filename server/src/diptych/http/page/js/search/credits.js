/** Who made the pictures that are shown. */

import { creditOf, nameOf } from "../format.js";
import { html, useMemo, useState } from "../html.js";

/** A page of the picture itself, where its metadata names one. */
const pageOf = ({ metadata }) =>
  (typeof metadata?.source === "string" && /^https?:/.test(metadata.source) ? metadata.source : null);

function Credit({ item }) {
  const page = pageOf(item);
  return page ? html`<a href=${page} rel="noreferrer">${nameOf(item)}</a> ${creditOf(item)}` : creditOf(item);
}

const keys = new WeakMap();  // items to what their credit is told apart by; long lists grow often

function keyOf(item) {
  if (!keys.has(item)) keys.set(item, creditOf(item) && (pageOf(item) ?? creditOf(item)));
  return keys.get(item);
}

/** Pictures without a page of their own share a credit, such as the drawings of one style. */
function creditedOf(items) {
  const credited = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (key && !credited.has(key)) credited.set(key, item);
  }
  return credited;
}

export function Credits({ items }) {
  const [open, setOpen] = useState(false);  // a long list that few people read is drawn for them only
  const credited = useMemo(() => creditedOf(items), [items]);
  const [first, ...others] = credited.values();
  if (!first) return null;
  if (!others.length) return html`<p id="credit" class="credits">Pictures: <${Credit} item=${first}/></p>`;
  return html`
    <details id="credit" class="credits" onToggle=${({ target }) => setOpen(target.open)}>
      <summary>Pictures: ${creditOf(first)}, and ${others.length} more</summary>
      ${open && html`
        <ul>${[first, ...others].map((item) => html`<li key=${item.id}><${Credit} item=${item}/></li>`)}</ul>`}
    </details>`;
}
