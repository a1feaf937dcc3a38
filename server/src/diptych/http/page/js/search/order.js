/**
 * The order of the pictures: the best match first, or by a date, a name or a number of the metadata. In the address it
 * is that field, with a minus in front where the largest value comes first: `order=-exif.taken_at`.
 */

import { html } from "../html.js";

const DATES = ["exif.taken_at", "file.modified"];
const MAX_NUMBERS = 5;  // fields of numbers, the most common ones
const NAMES = ["name", "file.name"];

/** `{orderBy, direction}` as the API takes them; empty for the order of the API. */
export function orderOf(params) {
  const text = params.get("order");
  if (!text) return {};
  return text.startsWith("-") ? { orderBy: text.slice(1), direction: "desc" } : { orderBy: text, direction: "asc" };
}

export const isByDate = ({ orderBy }) => DATES.includes(orderBy);

/** Hits can be sorted if the model that serves tells which of them fit: for texts, for pictures, as `parts` need it. */
export function canSort(parts, { version, models }) {
  const model = models?.models.find(({ name }) => name === version?.model?.name);
  return parts.every(({ kind }) => model?.calibration?.[kind === "text" ? "text" : "image"]?.ignored === null);
}

/** How many of `total` pictures come last in this order, as they have no date; 0 in another order. */
export function nUndated(fields, { orderBy }, total) {
  const field = isByDate({ orderBy }) && fields.find(({ name }) => name === orderBy);
  return field ? total - field.n_images : 0;
}

/** Chooses the order, of those that the `fields` of the collection allow. */
export function Order({ fields, params, isSearch, onChange }) {
  const known = (names) => names.find((name) => fields.some((field) => field.name === name));
  const [date, name] = [DATES, NAMES].map(known);
  const numbers = fields.filter(({ min, max }) => min < max).slice(0, MAX_NUMBERS);
  const chosen = params.get("order") ?? "";
  const orders = [
    ["", isSearch ? "Best match" : "Unsorted"],
    ...(date ? [[`-${date}`, "Newest first"], [date, "Oldest first"]] : []),
    ...(name ? [[name, "By name"]] : []),
    ...numbers.flatMap((field) => [
      [`-${field.name}`, `${field.name}, largest first`], [field.name, `${field.name}, smallest first`],
    ]),
  ];
  if (!orders.some(([value]) => value === chosen)) orders.push([chosen, `By ${chosen.replace(/^-/, "")}`]);
  if (orders.length < 2) return null;
  const mark = !chosen ? "⇅" : chosen === name ? "A–Z" : chosen.startsWith("-") ? "↓" : "↑";  // on a phone
  return html`
    <label class=${chosen ? "order chosen" : "order"} data-mark=${mark}>
      <span class="unseen">Order</span>
      <select value=${chosen} onChange=${({ target }) => onChange(target.value)}>
        ${orders.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}
      </select>
    </label>`;
}
