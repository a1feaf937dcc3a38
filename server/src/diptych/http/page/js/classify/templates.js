/** The sentence around each label. */

import { html, useEffect, useState } from "../html.js";
import { client, served } from "../server.js";

const OWN = "own";

/** `onChange` receives fields of the request: `{template}`, `{templates}`, or null for what the model brings. */
export function Templates({ chosen, onChange }) {
  const [sets, setSets] = useState([]);
  useEffect(() => {
    const { name, version } = served.get().version.model;
    client.modelVersion(name, version)
      .then(({ prompt_sets: found }) => setSets(found ?? []), () => setSets([]));
  }, []);
  const own = typeof chosen?.template === "string";
  const choose = ({ target }) => {
    if (target.value === OWN) onChange({ template: "a photo of a {}." });
    else onChange(target.value ? { templates: target.value } : null);
  };
  const edit = ({ target }) => {
    const fits = target.value.split("{}").length === 2;
    target.setCustomValidity(fits ? "" : "The sentence has one {} for the label");
    if (fits) onChange({ template: target.value });
    else target.reportValidity();
  };
  return html`
    <p class="row templates">
      <label>Sentence
        <select value=${own ? OWN : chosen?.templates ?? ""} onChange=${choose}>
          <option value="">as the model was trained</option>
          ${sets.map((name) => html`<option key=${name} value=${name}>set “${name}”</option>`)}
          <option value=${OWN}>my own</option>
        </select>
      </label>
      ${own && html`<input aria-label="My own sentence" value=${chosen.template} maxlength="200" onChange=${edit}/>`}
    </p>`;
}
