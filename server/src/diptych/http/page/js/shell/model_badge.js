/** Which model serves: name, version, precision and GPU, in the header. */

import { addressOf } from "../address.js";
import { html } from "../html.js";
import { served } from "../server.js";
import { useStore } from "../store.js";

const WAITING = {
  connecting: "connecting",
  loading: "loading the model",
  away: "no answer from the server, trying again",
  locked: "a key is needed",
};

export function ModelBadge() {
  const { state, version, models } = useStore(served);
  if (state !== "ready" || !version?.model) {
    return html`
      <p id="model" class="model" role="status">
        <span class="dot ${state}" aria-hidden="true"></span>${WAITING[state]}
      </p>`;
  }
  const { name, version: number, precision } = version.model;
  const device = models?.models.find((model) => model.name === name)?.serving?.device;
  const where = device?.name ? ` on ${device.name}` : "";
  return html`
    <p id="model" class="model" role="status" title=${device ? `on ${device.provider}: ${device.reason}` : undefined}>
      <span class="dot ready" aria-hidden="true"></span>
      <a href=${addressOf("models")}><strong>${name}</strong> <span>version ${number}, ${precision}${where}</span></a>
    </p>`;
}
