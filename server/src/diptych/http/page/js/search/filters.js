/** Filters from the metadata of the collection: its fields, their values, and how many pictures have each. */

import { count, valueText } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { client } from "../server.js";
import { createStore, useStore } from "../store.js";
import { useCounts } from "./counts.js";
import { Folders } from "./folders.js";
import { Histogram } from "./months.js";
import { areLabels, filterOf } from "./query.js";

const N_VALUES = 20;
const MAX_SHOWN = 8;
const MAX_COLUMNS = 3;
const MIN_SHARED = 1.5;  // pictures for each value
const FOLDER = "file.folder";

const tagged = createStore({ n: 0 });
/** The metadata of some pictures has changed: the fields are read again. */
export const noteTagged = () => tagged.set({ n: tagged.get().n + 1 });

/**
 * A field is worth a filter if it tells some of the `total` pictures from others: if pictures share its values, or if
 * it is a number or a date.
 */
const isUseful = (total) => (field) =>
  field.values.length > 0 && (field.n_distinct > 1 || field.n_images < total)
  && (field.n_distinct <= N_VALUES || isShared(field) || isRange(field) || field.name === FOLDER);
/** Of many values, such as those of a camera, the most frequent ones are offered. */
const isShared = ({ n_images: n, n_distinct: nDistinct }) => n >= MIN_SHARED * nDistinct;
const isRange = (field) => isNumeric(field) || isDate(field);
const isNumeric = ({ min, max, n_distinct: nDistinct }) => min !== null && min < max && nDistinct > MAX_SHOWN;
/** Days, or times of days, such as `exif.taken_at`. */
const isDate = ({ values, n_distinct: nDistinct }) =>
  nDistinct > 1 && values.length > 0 && values.every(({ value }) => /^\d{4}-\d\d-\d\d(T|$)/.test(value));
const without = (object, name) => Object.fromEntries(Object.entries(object ?? {}).filter(([key]) => key !== name));
const asField = (name) => ({ name, values: [], n_distinct: 0, min: null, max: null });

/** The fields of the metadata of a collection of `total` pictures, with their most frequent values. */
export function useFields(collection, total) {
  const [fields, setFields] = useState([]);
  const { n: changes } = useStore(tagged);
  useEffect(() => {
    const controller = new AbortController();
    client.fields(collection, { limit: N_VALUES, nested: true, signal: controller.signal }).then(
      ({ fields: found }) => setFields(found),
      () => {},  // the pictures can be searched without filters
    );
    return () => controller.abort();
  }, [collection, total, changes]);
  return fields;
}

/** Those of the chosen values whose fields another collection has, too. Label sets are of one collection. */
export async function chosenThere(collection, only) {
  if (!Object.keys(only).length) return {};
  const read = client.fields(collection, { limit: 1, nested: true });
  const names = await read.then(({ fields }) => fields.map(({ name }) => name), () => []);
  return Object.fromEntries(
    Object.entries(only).filter(([name, chosen]) => names.includes(name) && !areLabels(chosen)));
}

/**
 * `total` pictures with `fields` are in the collection, which is searched for `parts`; `only` are the chosen values.
 */
export function Filters({ collection, total, fields: all, parts, only, onChange }) {
  const [isOpen, setOpen] = useState(false);
  const details = useRef(null);
  const fields = all.filter(isUseful(total));
  useEffect(() => {
    const closeOutside = ({ target }) => {
      if (!details.current?.contains(target)) details.current?.removeAttribute("open");
    };
    addEventListener("pointerdown", closeOutside);
    return () => removeEventListener("pointerdown", closeOutside);
  }, []);
  const onKeyDown = ({ key }) => {
    if (key !== "Escape") return;
    details.current.open = false;
    details.current.firstElementChild.focus();
  };
  // A link may choose a field that is none of those: what is chosen is shown, so that it can be taken back.
  const others = Object.keys(only).filter((name) => !fields.some((field) => field.name === name)).map(asField);
  const shown = [...others, ...fields];
  const isOfSet = ({ name }) => areLabels(only[name]);
  const isTree = ({ name }) => name === FOLDER && !Array.isArray(only[name]);
  const isListed = (field) =>
    !isOfSet(field) && !isTree(field) && (!isRange(field) || Array.isArray(only[field.name]));
  const listed = shown.filter(isListed);
  const counts = useCounts({ isOpen, collection, parts, only, names: listed.map(({ name }) => name) });
  if (!shown.length) return null;
  const nChosen = Object.keys(only).length;
  const set = (field, value) => {
    const rest = without(only, field);
    onChange(value === null ? rest : { ...rest, [field]: value });
  };
  return html`
    <details class="filters" ref=${details} onKeyDown=${onKeyDown} onToggle=${({ target }) => setOpen(target.open)}>
      <summary class="quiet button">Filters${nChosen > 0 && html` <span class="count">${nChosen}</span>`}</summary>
      <div class="filter-fields" style=${{ "--columns": Math.min(MAX_COLUMNS, shown.length) }}>
        ${shown.map((field) => {
          const chosen = only[field.name];
          const filter = filterOf(without(only, field.name));
          const change = (value) => set(field.name, value);
          const choice = isTree(field)
            ? isOpen && html`
              <${Folders} collection=${collection} under="" filter=${filter} chosen=${chosen?.under} set=${change}/>`
            : html`
              ${isOpen && isDate(field) && html`
                <${Histogram} collection=${collection} field=${field.name} chosen=${chosen} filter=${filter}/>`}
              <${isOfSet(field) ? Labels : isListed(field) ? Values : Range} field=${field} chosen=${chosen}
                counts=${counts} set=${change}/>`;
          return html`<fieldset key=${field.name}><legend>${field.name}</legend>${choice}</fieldset>`;
        })}
        ${nChosen > 0 && html`
          <p><button type="button" class="quiet small" onClick=${() => onChange({})}>Clear the filters</button></p>`}
      </div>
    </details>`;
}

/** Check boxes. A number that is not known is left out. */
function Values({ field, counts, chosen, set }) {
  const [all, setAll] = useState(false);
  const picked = Array.isArray(chosen) ? chosen : [];
  const counted = counts?.get(field.name);
  const numberOf = (value, inAll) => {
    if (counts === null) return inAll;
    return counted?.of.get(JSON.stringify(value)) ?? (counted?.isComplete ? 0 : null);
  };
  const known = field.values.map(({ value, count: inAll }) => ({ value, n: numberOf(value, inAll) }));
  const rare = picked.filter((value) => !known.some((row) => row.value === value));
  const rows = [...rare.map((value) => ({ value, n: numberOf(value, null) })), ...known];
  const shown = all ? rows : rows.slice(0, MAX_SHOWN);
  const nLeft = field.n_distinct - known.length;
  const toggle = (value, checked) => {
    const next = checked ? [...picked, value] : picked.filter((one) => one !== value);
    set(next.length ? next : null);
  };
  return html`
    ${shown.map(({ value, n }) => html`
      <label class="check" key=${JSON.stringify(value)} title=${valueText(value)}>
        <input type="checkbox" checked=${picked.includes(value)}
          onChange=${({ target }) => toggle(value, target.checked)}/>
        <span>${valueText(value)}</span>
        <span class="number">${n !== null && count(n)}</span>
      </label>`)}
    ${rows.length > MAX_SHOWN && html`
      <button type="button" class="link" onClick=${() => setAll(!all)}>
        ${all ? "Fewer" : `${rows.length - MAX_SHOWN} more`}
      </button>`}
    ${nLeft > 0 && (all || rows.length <= MAX_SHOWN) && html`<p class="status">and ${count(nLeft)} rarer ones</p>`}`;
}

/** Labels of a label set, which a link of the label view chose. */
function Labels({ chosen, set }) {
  const remove = (label) => {
    const left = chosen.in.filter((one) => one !== label);
    set(left.length ? { ...chosen, in: left } : null);
  };
  return html`
    <p class="status">by the label set ${chosen.set}</p>
    ${chosen.in.map((label) => html`
      <label class="check" key=${label}>
        <input type="checkbox" checked onChange=${() => remove(label)}/><span>${label ?? "None of these"}</span>
      </label>`)}`;
}

/** From and to, for dates and for numbers with many values. */
function Range({ field, chosen, set }) {
  const { min, max } = field;
  const { gte, lte } = chosen ?? {};
  const dated = isDate(field) || [gte, lte].some((bound) => typeof bound === "string");
  const change = (bound) => ({ target: { value } }) => {
    const other = without(chosen, bound);
    const next = value === "" ? other : { ...other, [bound]: dated ? value : Number(value) };
    set(Object.keys(next).length ? next : null);
  };
  const type = dated ? "date" : "number";
  return html`
    <p class="range">
      <label>from <${Bound} type=${type} hint=${min} value=${gte} onChange=${change("gte")}/></label>
      <label>to <${Bound} type=${type} hint=${max} value=${lte} onChange=${change("lte")}/></label>
      ${gte > lte && html`<span class="refused" role="alert">“from” is above “to”: nothing fits</span>`}
    </p>`;
}

/** A number or a day that is taken once it is confirmed. What is being typed stays while counts arrive around it. */
function Bound({ type, hint, value, onChange }) {
  const input = useRef(null);
  useEffect(() => {
    input.current.value = value ?? "";
  }, [value]);
  return html`<input type=${type} step=${type === "number" ? "any" : undefined} placeholder=${hint}
                     onChange=${onChange} ref=${input}/>`;
}
