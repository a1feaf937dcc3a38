/** Filters from the metadata of the collection: its fields, their values, and how many pictures have each. */

import { count, valueText } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { client } from "../server.js";

const N_VALUES = 20;
const MAX_SHOWN = 8;

/** A field is worth a filter if pictures share its values, or if it is a number. */
const isUseful = (field) => field.values.length > 0 && (field.n_distinct <= N_VALUES || isRange(field));
const isRange = ({ min, max, n_distinct: nDistinct }) => min !== null && min < max && nDistinct > MAX_SHOWN;

/** `onFields` receives the fields that can be filtered, `counts` are the facets of a search. */
export function Filters({ collection, only, counts, onChange, onFields }) {
  const [fields, setFields] = useState([]);
  useEffect(() => {
    const controller = new AbortController();
    client.fields(collection, { limit: N_VALUES, signal: controller.signal }).then(
      ({ fields: found }) => {
        const useful = found.filter(isUseful);
        setFields(useful);
        onFields(useful);
      },
      () => {},  // the pictures can be searched without filters
    );
    return () => controller.abort();
  }, [collection]);
  if (!fields.length) return null;
  const nChosen = Object.keys(only).length;
  const set = (field, value) => {
    const { [field]: _, ...others } = only;
    onChange(value === null ? others : { ...others, [field]: value });
  };
  return html`
    <details class="filters">
      <summary class="quiet button">Filters${nChosen > 0 && html` <span class="count">${nChosen}</span>`}</summary>
      <div class="filter-fields">
        ${fields.map((field) => html`
          <fieldset key=${field.name}>
            <legend>${field.name}</legend>
            ${isRange(field)
              ? html`<${Range} field=${field} chosen=${only[field.name]} set=${(value) => set(field.name, value)}/>`
              : html`<${Values} field=${field} chosen=${only[field.name]} set=${(value) => set(field.name, value)}
                       facet=${counts?.find((facet) => facet.field === field.name)}/>`}
          </fieldset>`)}
        ${nChosen > 0 && html`<p><button type="button" class="quiet small" onClick=${() => onChange({})}>Clear the filters</button></p>`}
      </div>
    </details>`;
}

/** Check boxes. Beside a search the counts are those among its hits. */
function Values({ field, facet, chosen, set }) {
  const [all, setAll] = useState(false);
  const picked = Array.isArray(chosen) ? chosen : [];
  const found = new Map((facet?.values ?? []).map(({ value, count: n }) => [JSON.stringify(value), n]));
  const rows = field.values.map(({ value, count: n }) => ({ value, n: facet ? found.get(JSON.stringify(value)) ?? 0 : n }));
  const shown = all ? rows : rows.slice(0, MAX_SHOWN);
  const toggle = (value, checked) => {
    const next = checked ? [...picked, value] : picked.filter((one) => one !== value);
    set(next.length ? next : null);
  };
  return html`
    ${shown.map(({ value, n }) => html`
      <label class="check" key=${JSON.stringify(value)}>
        <input type="checkbox" checked=${picked.includes(value)} onChange=${({ target }) => toggle(value, target.checked)}/>
        <span>${valueText(value)}</span>
        <span class="number">${count(n)}</span>
      </label>`)}
    ${rows.length > MAX_SHOWN && html`
      <button type="button" class="link" onClick=${() => setAll(!all)}>${all ? "Fewer" : `${rows.length - MAX_SHOWN} more`}</button>`}`;
}

/** From and to, for numbers with many values. */
function Range({ field: { min, max }, chosen, set }) {
  const change = (bound) => ({ target }) => {
    const { [bound]: _, ...other } = chosen ?? {};
    const next = target.value === "" ? other : { ...other, [bound]: Number(target.value) };
    set(Object.keys(next).length ? next : null);
  };
  return html`
    <p class="range">
      <label>from <input type="number" placeholder=${min} value=${chosen?.gte ?? ""} onChange=${change("gte")}/></label>
      <label>to <input type="number" placeholder=${max} value=${chosen?.lte ?? ""} onChange=${change("lte")}/></label>
    </p>`;
}
