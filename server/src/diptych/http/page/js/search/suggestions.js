/** Queries to try on the sample gallery. */

import { addressOf } from "../address.js";
import { SAMPLES } from "../collections/chosen.js";
import { html } from "../html.js";
import { served } from "../server.js";
import { useStore } from "../store.js";

const QUERIES = [
  ["a red panda", "photograph"], ["a car", "drawing"], ["pizza", "drawing"],
  ["solar panels", "photograph"], ["music", "drawing"], ["a polar bear", "photograph"], ["forbidden", "drawing"],
  ["a butterfly", "photograph"], ["fruit", "drawing"],
];

/** Trained on the drawings of `pictograms`, with no image tower that others trained on photographs. */
export function knowsDrawingsOnly({ version, models }) {
  const model = models?.models.find(({ name }) => name === version?.model?.name);
  return model?.source?.dataset === "pictograms" && !model.source.image_tower_from;
}

/** Left out on a phone. */
const wordy = (text) => html`<span class="wordy">${text}</span>`;

/** `target` is the collection that pictures are added to, or null. */
export function Suggestions({ collection, target }) {
  const server = useStore(served);
  if (collection !== SAMPLES) return null;
  const drawingsOnly = knowsDrawingsOnly(server);
  const shown = QUERIES.filter(([, kind]) => kind === "drawing" || !drawingsOnly);
  const hasOwn = server.collections.some(({ name, n_images: n }) => name !== SAMPLES && n > 0);
  return html`
    <p id="examples" class="examples">
      ${!hasOwn && html`
        <span class="welcome">
          Sample${wordy(" picture")}s${target && html`, until you add yours${wordy(
            html` with “Add pictures”, by dropping them here, or with <code>diptych add FOLDER</code>`)}`}.
        </span>`}
      <span>Try</span>
      ${shown.map(([words]) => html`
        <a key=${words} href=${addressOf("search", { collection, q: words })}>${words}</a>`)}
    </p>`;
}
