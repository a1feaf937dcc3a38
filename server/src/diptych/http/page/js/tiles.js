/** Draws pictures as tiles. */

import { element } from "./dom.js";

export const DRAG_TYPE = "application/x-diptych-path";

export const nameOf = ({ metadata, id }) => metadata?.name ?? metadata?.file?.split?.("/").at(-1) ?? id;

/** "grapes, fxemoji by Mozilla, Apache-2.0", from the metadata. */
export function creditOf(item) {
  const { style, author, licence } = item.metadata ?? {};
  const maker = [style, author && `by ${author}`].filter(Boolean).join(" ");
  return [maker, licence].filter(Boolean).join(", ");
}

/** An <img> that loads itself; if that fails, it shows its alternative text. */
export function thumbnail(api, item) {
  const image = element("img", { alt: "", width: 96, height: 96, loading: "lazy", draggable: "false" });
  api.picture(item.links.thumbnail).then((address) => { image.src = address; }, () => image.remove());
  return image;
}

/** "82 %", or null where relevance is unknown. */
export const percentOf = ({ relevance }) =>
  relevance === null || relevance === undefined ? null : `${relevance < 0.01 ? "<1" : Math.floor(100 * relevance)} %`;

/** One tile: a button that chooses its picture, and that can be dragged onto the other panel. */
export function tile(api, item, choose) {
  const name = nameOf(item);
  const percent = percentOf(item);
  const cosine = item.cosine === undefined ? null : `cosine ${item.cosine.toFixed(2)}`;
  const match = percent === null ? cosine : `relevance ${percent}`;
  const button = element(
    "button",
    {
      type: "button", class: "tile", draggable: "true",
      title: [name, creditOf(item), percent && `${match}, ${cosine}`].filter(Boolean).join("\n"),
      "aria-label": match === null ? `${name}: find alike` : `${name}, ${match}: find alike`,
      onclick: () => choose(item),
      ondragstart: (event) => {
        event.dataTransfer.setData(DRAG_TYPE, JSON.stringify(item));
        event.dataTransfer.effectAllowed = "copy";
      },
    },
    element("span", { class: "mount" }, thumbnail(api, item)),
    element("span", { class: "caption" }, name),
  );
  if (percent !== null) button.append(element("span", { class: "match" }, percent));
  else if (cosine !== null) button.append(element("span", { class: "match unjudged" }, item.cosine.toFixed(2)));
  return element("li", {}, button);
}

/** Empty tiles as placeholders for pictures that are loading. */
export const placeholders = (n) =>
  Array.from({ length: n }, () => element("li", { class: "placeholder", "aria-hidden": "true" }));
