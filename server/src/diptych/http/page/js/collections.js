/** The selection box for the collection that is shown. */

import { goTo, queryOfAddress } from "./address.js";
import { byId, element } from "./dom.js";

/** A chosen collection goes into the address; a text query stays. */
export function listenForCollection() {
  byId("collection").addEventListener("change", ({ target }) => {
    const { text } = queryOfAddress();
    goTo({ collection: target.value, ...(text && { q: text }) });
  });
}

/** Draw the box if there is more than one collection. */
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
