/** Shows which model serves, and the credit of the pictures. */

import { byId, element } from "./dom.js";
import { creditOf, nameOf } from "./tiles.js";

/** The text while there is no model: `loading`, or `away` when the server does not respond. */
export function drawWaiting(state) {
  const text = state === "loading" ? "loading the model" : "no answer from the server, trying again";
  byId("model").replaceChildren(element("span", { class: `dot ${state}`, "aria-hidden": "true" }), text);
}

/** Name, version, precision and GPU of the served model. If it knows drawings only, a note says so, and nothing that
 *  only photographs show is suggested. */
export function drawModel(version, models) {
  const { name, version: number, precision } = version.model;
  const dot = element("span", { class: "dot ready", "aria-hidden": "true" });
  const served = models.models.find((model) => model.name === name);
  const device = served?.serving?.device;
  const where = device?.name ? ` on ${device.name}` : "";
  byId("model").replaceChildren(dot, element("strong", {}, name), " ",
    element("span", { title: device ? `on ${device.provider}: ${device.reason}` : null }, `version ${number}, ${precision}${where}`));
  const drawingsOnly = knowsDrawingsOnly(served);
  byId("drawings-only").hidden = !drawingsOnly;
  for (const button of document.querySelectorAll("#examples [data-kind=photograph]")) button.hidden = drawingsOnly;
}

/** Trained on the drawings of `pictograms`, with no image tower that others trained on photographs. */
const knowsDrawingsOnly = (model) => model?.source?.dataset === "pictograms" && !model.source.image_tower_from;

/** Credit the authors of the pictures, and offer their names as labels if the first has one. */
export function drawCredits(pictures) {
  // Pictures without a page of their own share a credit, such as the drawings of one style.
  const credited = new Map(pictures.filter(creditOf).map((item) => [pageOf(item) ?? creditOf(item), item]));
  byId("credit").replaceChildren(...creditLines([...credited.values()]));
  byId("own-names").hidden = !pictures[0]?.metadata?.name;
}

function creditLines([first, ...others]) {
  if (!first) return [];
  if (!others.length) return ["Pictures: ", credit(first)];
  const summary = element("summary", {}, `Pictures: ${creditOf(first)}, and ${others.length} more`);
  const lines = [first, ...others].map((item) => element("li", {}, credit(item)));
  return [element("details", {}, summary, element("ul", {}, ...lines))];
}

/** "fxemoji by Mozilla, Apache-2.0", after the name of a picture that has a page of its own. */
function credit(item) {
  const page = pageOf(item);
  return page ? element("span", {}, element("a", { href: page }, nameOf(item)), ` ${creditOf(item)}`) : creditOf(item);
}

const pageOf = ({ metadata: { source } }) => (/^https?:/.test(source) ? source : null);
