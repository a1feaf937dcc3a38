/** The metadata of one picture, and a form that changes it. */

import { creditOf, valueText } from "../format.js";
import { html, useState } from "../html.js";
import { Problem } from "../parts/feedback.js";
import { client, may } from "../server.js";

/** `image` as the API gives it; `onChange` receives it after a change. */
export function Metadata({ collection, image, onChange, children }) {
  const [editing, setEditing] = useState(false);
  const save = (changed) => {
    setEditing(false);
    onChange(changed);
  };
  if (editing) {
    return html`
      <${Form} collection=${collection} image=${image} onSave=${save} onCancel=${() => setEditing(false)}/>`;
  }
  const credit = creditOf(image);
  return html`
    <dl class="details">
      ${fieldsOf(image.metadata ?? {}).map(([field, value]) => html`
        <div key=${field}><dt>${field}</dt><dd><${Value} value=${value}/></dd></div>`)}
      ${children}
    </dl>
    ${credit && html`<p class="status">${credit}</p>`}
    ${may("write") && html`
      <p class="row">
        <button type="button" class="quiet small" onClick=${() => setEditing(true)}>Edit the metadata</button>
      </p>`}`;
}

/** The fields with their values; those inside of objects are named by their paths, as in filters. */
function fieldsOf(metadata) {
  return Object.entries(metadata).flatMap(([field, value]) => {
    const inner = isObject(value) ? fieldsOf(value) : [];
    return inner.length ? inner.map(([name, one]) => [`${field}.${name}`, one]) : [[field, value]];
  });
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function Value({ value }) {
  const text = valueText(value);
  return /^https?:\/\/\S+$/.test(text) ? html`<a href=${text} rel="noreferrer">${text}</a>` : text;
}

/**
 * What was no text before, such as a number, is read as JSON again; a new value that is a number or true or false, too.
 */
function read(text, before) {
  const wasText = typeof before === "string";
  if (wasText || (before === undefined && !/^(-?\d+(\.\d+)?|true|false)$/.test(text.trim()))) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function Form({ collection, image, onSave, onCancel }) {
  const [rows, setRows] = useState(() =>
    Object.entries(image.metadata).map(([field, value]) => ({ field, text: valueText(value), before: value })));
  const [problem, setProblem] = useState(null);
  const change = (index, changes) => setRows(rows.map((row, i) => (i === index ? { ...row, ...changes } : row)));
  const save = async (event) => {
    event.preventDefault();
    const named = rows.filter(({ field }) => field.trim());
    const wanted = Object.fromEntries(named.map(({ field, text, before }) => [field.trim(), read(text, before)]));
    const gone = Object.keys(image.metadata).filter((field) => !(field in wanted));
    const patch = { ...wanted, ...Object.fromEntries(gone.map((field) => [field, null])) };  // null removes (RFC 7396)
    await client.patchImage(collection, image.id, patch).then(onSave, setProblem);
  };
  return html`
    <form class="metadata-form" aria-label="Metadata" onSubmit=${save}>
      ${rows.map(({ field, text, before }, index) => html`
        <div class="metadata-row" key=${index}>
          <input aria-label="Field ${index + 1}" value=${field} readonly=${before !== undefined} placeholder="field"
            onInput=${({ target }) => change(index, { field: target.value })}/>
          <input aria-label="Value ${index + 1}" value=${text} placeholder="value"
            onInput=${({ target }) => change(index, { text: target.value })}/>
          <button type="button" class="icon small" aria-label="Remove ${field || "this field"}"
            onClick=${() => setRows(rows.toSpliced(index, 1))}>
            ×
          </button>
        </div>`)}
      <${Problem} problem=${problem}/>
      <p class="row">
        <button type="button" class="quiet small" onClick=${() => setRows([...rows, { field: "", text: "" }])}>
          Add a field
        </button>
        <span class="spring"></span>
        <button type="button" class="quiet small" onClick=${onCancel}>Cancel</button>
        <button type="submit" class="strong small">Save</button>
      </p>
    </form>`;
}
