/** The box that says which collection is shown, and chooses another; knows nothing of what is in them. */

import { goTo, queryOfAddress } from "./address.js";
import { byId, element } from "./dom.js";

/** A collection that is chosen becomes part of the address; words that are looked for stay. */
export function listenForCollection() {
  byId("collection").addEventListener("change", ({ target }) => {
    const { text } = queryOfAddress();
    goTo({ collection: target.value, ...(text && { q: text }) });
  });
}

/** Draw it where there is a choice. */
export function drawCollections(names, shown) {
  const box = byId("collection");
  const all = names.includes(shown) ? names : [...names, shown];
  const drawn = [...box.options].map(({ value }) => value);
  if (drawn.join("\n") !== all.join("\n")) {  // drawing it anew would close it
    box.replaceChildren(...all.map((name) => element("option", { value: name }, name)));
  }
  box.value = shown;
  box.parentElement.hidden = all.length < 2;
}
