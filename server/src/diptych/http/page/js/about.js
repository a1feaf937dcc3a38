/** Says which model serves, and whose pictures are shown; knows nothing of the panels. */

import { byId, element } from "./dom.js";
import { creditOf } from "./tiles.js";

/** Before the model is there: `loading`, or `away` when the server does not answer. */
export function drawWaiting(state) {
  const text = state === "loading" ? "loading the model" : "no answer from the server, trying again";
  byId("model").replaceChildren(element("span", { class: `dot ${state}`, "aria-hidden": "true" }), text);
}

/** Name, version, precision and GPU of the served model, and the note that goes with a model of drawings. */
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

/** A model learned from drawings says so in its manifest: `source.dataset`. */
const knowsDrawingsOnly = (model) => model?.source?.dataset === "pictograms";

/** Credit the maker of the pictures, and offer their names as labels, where the first of them tells either. */
export function drawCredit([first]) {
  const credit = first && creditOf(first);
  byId("credit").textContent = credit ? `Pictures: ${credit}` : "";
  byId("own-names").hidden = !first?.metadata?.name;
}
