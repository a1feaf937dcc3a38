/** Pictures by month: headings of a list in the order of its dates, and a small chart of how many each month has. */

import { plural } from "../format.js";
import { html, useEffect, useMemo, useState } from "../html.js";
import { client } from "../server.js";

const NONE = [];
const SPARSE = 4;  // pictures of a month on average; fewer ones are headed by their years

/** "2024-05", or null for a picture without a date in the field. Of a list the first value counts, as for the order. */
function monthOf({ metadata }, field) {
  const value = [field.split(".").reduce((inner, key) => inner?.[key], metadata)].flat()[0];
  const found = typeof value === "string" && /^(\d{4})(?:-(\d\d))?(?!\d)/.exec(value);
  return found ? `${found[1]}-${found[2] ?? "01"}` : null;
}

/** "May 2024". */
const monthText = (month) => new Date(`${month}-01T00:00`).toLocaleString("en", { month: "long", year: "numeric" });

/** How many pictures each month has, in the order of the pictures: `Map {month: n}`, null for those without a date. */
function countsOf({ field, months, total, isDescending }, items, shown) {
  const ordered = isDescending ? months?.toReversed() : months;
  const counts = new Map(ordered?.map((one) => [one.month, one.n_images]));
  const add = (month, n) => counts.set(month, (counts.get(month) ?? 0) + n);
  if (!months) for (const item of shown) add(monthOf(item, field), 1);
  else {
    add(null, months.reduce((left, one) => left - one.n_images, total));
    const left = new Set(shown);
    if (items.length > shown.length) for (const item of items) if (!left.has(item)) add(monthOf(item, field), -1);
  }
  return [...counts].filter(([, n]) => n > 0);
}

/**
 * The months or years of the `shown` pictures of `results` as `sections` of a grid, if they are in the order of dates:
 * none where numbers come before the dates.
 */
export function useMonths(results, shown) {
  const { items, about: { dated } } = results ?? { about: NONE };
  return useMemo(() => {
    const counts = dated && shown.length ? countsOf(dated, items, shown) : NONE;
    if (!counts.length || counts[0][0] === null || counts[0][0] !== monthOf(shown[0], dated.field)) return NONE;
    const sections = [];
    let at = 0;
    let year = null;
    const isSparse = counts.reduce((sum, [, n]) => sum + n, 0) < SPARSE * counts.length;
    for (const [month, n] of counts) {
      const mark = month?.slice(0, 4);
      const text = !month ? "Without a date" : isSparse ? mark : monthText(month);
      if (sections.at(-1)?.text !== text) sections.push({ at, text, mark: mark === year ? null : mark });
      at += n;
      year = mark;
    }
    return sections;
  }, [dated, items, shown]);
}

const HEIGHT = 28;

/** How many pictures that pass the `filter` have a date of each month; those in the chosen time stand out. */
export function Histogram({ collection, field, filter, chosen }) {
  const [months, setMonths] = useState(NONE);
  useEffect(() => {
    const controller = new AbortController();
    client.months(collection, field, { filter: filter ?? undefined, signal: controller.signal })
      .then((found) => setMonths(found.months), () => {});
    return () => controller.abort();
  }, [collection, field, JSON.stringify(filter)]);
  if (months.length < 2) return null;
  const { gte = "", lte = "9999" } = chosen ?? {};
  const number = (month) => 12 * month.slice(0, 4) + Number(month.slice(5));
  const first = number(months[0].month);
  const most = months.reduce((best, one) => (one.n_images > best.n_images ? one : best));
  const n = number(months.at(-1).month) - first + 1;
  const isIn = (month) => month >= gte.slice(0, 7) && month <= lte.slice(0, 7);
  const text = `${monthText(months[0].month)} to ${monthText(months.at(-1).month)}, at most `
    + `${plural(most.n_images, "picture")} in ${monthText(most.month)}`;
  return html`
    <svg class="histogram" viewBox="0 0 ${n} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${text}>
      <title>${text}</title>
      ${months.map(({ month, n_images: count }) => {
        const height = Math.max(1, (HEIGHT * count) / most.n_images);
        return html`<rect key=${month} class=${isIn(month) ? "in" : undefined} x=${number(month) - first} width="0.9"
          y=${HEIGHT - height} height=${height}/>`;
      })}
    </svg>`;
}
