/** Shows which model serves, and the credit of the pictures. */

import { byId, element } from "./dom.js";
import { creditOf } from "./tiles.js";

/** The text while there is no model: `loading`, or `away` when the server does not respond. */
export function drawWaiting(state) {
  const text = state === "loading" ? "loading the model" : "no answer from the server, trying again";
  byId("model").replaceChildren(element("span", { class: `dot ${state}`, "aria-hidden": "true" }), text);
}

/** Name, version, precision and GPU of the served model, with a note if it was trained on drawings. */
export function drawModel(version, models) {
  const { name, version: number, precision } = version.model;
  const dot = element("span", { class: "dot ready", "aria-hidden": "true" });
  const served = models.models.find((model) => model.name === name);
  const device = served?.serving?.device;
  const where = device?.name ? ` on ${device.name}` : "";
  byId("model").replaceChildren(dot, element("strong", {}, name), " ",
    element("span", { title: device ? `on ${device.provider}: ${device.reason}` : null }, `version ${number}, ${precision}${where}`));
  byId("drawings-only").hidden = !knowsDrawingsOnly(served);
}

/** The manifest of a model trained on drawings has it in `source.dataset`. */
const knowsDrawingsOnly = (model) => model?.source?.dataset === "pictograms";

/** Credit the author of the pictures and offer their names as labels, if the metadata of the first has them. */
export function drawCredit([first]) {
  const credit = first && creditOf(first);
  byId("credit").textContent = credit ? `Pictures: ${credit}` : "";
  byId("own-names").hidden = !first?.metadata?.name;
}
