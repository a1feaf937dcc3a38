/** Shows the picture of the query above the hits. */

import { goTo } from "./address.js";
import { byId, element } from "./dom.js";
import { nameOf, thumbnail } from "./tiles.js";

const button = (text, onclick) => element("button", { type: "button", class: "quiet", onclick }, text);

/** Draw it for a query by id or by an uploaded picture; hide it for all others. */
export function drawQueryPicture(api, query, item, upload, onName) {
  const box = byId("query-picture");
  const showAll = button("Show all", () => goTo({}));
  box.hidden = false;
  if (query.kind === "id") {
    const text = element("span", {}, `Pictures like “${nameOf(item)}”`);
    box.replaceChildren(thumbnail(api, item), text, button("Name it", onName), showAll);
  } else if (query.kind === "upload") {
    const image = element("img", { alt: "", src: URL.createObjectURL(upload) });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
    box.replaceChildren(image, element("span", {}, "Pictures like yours"), showAll);
  } else {
    box.hidden = true;
    box.replaceChildren();
  }
}
