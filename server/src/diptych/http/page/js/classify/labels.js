/** The editable list of labels. */

import { html, useRef, useState } from "../html.js";
import { plural, valueText } from "../format.js";
import { Problem } from "../parts/feedback.js";
import { client } from "../server.js";
import { useCollections } from "../collections/chosen.js";
import { Dialog } from "../parts/dialog.js";

export const DEFAULT_LABELS = [
  "cat", "dog", "bird", "fish", "horse", "tree", "flower", "car", "house",
  "chair", "cup", "pizza", "guitar", "rain cloud", "red heart", "smiling face",
];
const MAX_FROM_FIELD = 100;

/** Without blanks and repetitions. */
const cleaned = (texts) => [...new Set(texts.map((text) => text.trim()).filter(Boolean))];

/** The labels in pasted text: lines, or if there is one line, what its commas, semicolons or tabs part. */
export function labelsIn(text) {
  const lines = cleaned(text.split(/\r?\n/));
  return lines.length === 1 ? cleaned(lines[0].split(/[,;\t]/)) : lines;
}

export function Labels({ labels, onChange }) {
  const input = useRef(null);
  const list = useRef(null);
  const [choosing, setChoosing] = useState(false);
  const set = (texts) => {
    const next = cleaned(texts);
    if (next.join("\n") !== labels.join("\n")) onChange(next);
  };
  const add = (event) => {
    event.preventDefault();
    set([...labels, input.current.value]);  // typed labels may hold commas
    input.current.value = "";
  };
  const onPaste = (event) => {
    const found = labelsIn(event.clipboardData.getData("text"));
    if (found.length < 2) return;
    event.preventDefault();
    event.stopPropagation();
    set([...labels, ...found]);
  };
  const remove = (index) => {
    set(labels.toSpliced(index, 1));
    const buttons = list.current.querySelectorAll("button");
    (buttons[index + 1] ?? buttons[index - 1] ?? input.current).focus();
  };
  return html`
    <div class="labels">
      <h2 id="labels-title">${plural(labels.length, "label")} to choose from</h2>
      <form id="add-label" class="add-label" onSubmit=${add}>
        <label class="unseen" for="new-label">A new label</label>
        <input id="new-label" ref=${input} placeholder="Add a label, or paste a list" maxlength="200"
          autocomplete="off" enterkeyhint="done" onPaste=${onPaste}/>
        <button type="submit" class="quiet">Add</button>
      </form>
      <ul id="chips" class="chips" ref=${list} aria-labelledby="labels-title">
        ${labels.map((label, index) => html`
          <li key=${label} class="chip">
            <input value=${label} size=${Math.max(2, label.length)} maxlength="200" aria-label="Label ${index + 1}"
                   onChange=${({ target }) => set(labels.with(index, target.value))}
                   onKeyDown=${({ key, target }) => { if (key === "Enter") target.blur(); }}/>
            <button type="button" aria-label="Remove ${label}" onClick=${() => remove(index)}>×</button>
          </li>`)}
      </ul>
      <p class="row">
        <button type="button" class="quiet small" onClick=${() => setChoosing(true)}>From a collection</button>
        <button type="button" class="quiet small" onClick=${() => onChange([])}>Clear</button>
        <button type="button" id="reset-labels" class="quiet small" onClick=${() => onChange(DEFAULT_LABELS)}>
          Reset
        </button>
      </p>
      ${choosing && html`
        <${FromField} onClose=${() => setChoosing(false)} onLabels=${(found) => { setChoosing(false); set(found); }}/>`}
    </div>`;
}

/** Chooses a metadata field of a collection, whose values become the labels. */
function FromField({ onLabels, onClose }) {
  const collections = useCollections().filter(({ n_images: n }) => n > 0);
  const [collection, setCollection] = useState(null);
  const [fields, setFields] = useState(null);
  const [problem, setProblem] = useState(null);
  const open = async (name) => {
    setCollection(name);
    setFields(null);
    setProblem(null);
    await client.fields(name, { limit: MAX_FROM_FIELD, nested: true })
      .then(({ fields: found }) => setFields(found.filter(({ values }) => values.length > 1)), setProblem);
  };
  return html`
    <${Dialog} title="Labels from a collection" onClose=${onClose}>
      <p class="row">
        ${collections.map(({ name }) => html`
          <button key=${name} type="button" class="quiet" aria-pressed=${String(name === collection)}
            onClick=${() => open(name)}>
            ${name}
          </button>`)}
      </p>
      ${!collections.length && html`<p class="status">No collection has pictures yet.</p>`}
      ${problem && html`<${Problem} problem=${problem} retry=${() => open(collection)}/>`}
      ${fields?.length === 0 && html`<p class="status">Its pictures share no metadata field with several values.</p>`}
      ${fields?.length > 0 && html`
        <p>Whose values?</p>
        <ul class="choices">
          ${fields.map(({ name: field, values, n_distinct: n }) => html`
            <li key=${field}>
              <button type="button" class="choice"
                onClick=${() => onLabels(values.map(({ value }) => valueText(value)))}>
                <strong>${field}</strong>
                <span>
                  ${n > values.length ? `the ${values.length} most frequent of ${n}` : plural(n, "value")}:${" "}
                  ${values.slice(0, 4).map(({ value }) => valueText(value)).join(", ")}
                </span>
              </button>
            </li>`)}
        </ul>`}
    <//>`;
}
