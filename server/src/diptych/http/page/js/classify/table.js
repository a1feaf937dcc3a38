/** Many pictures as a table that can be sorted and saved. */

import { percent } from "../format.js";
import { html, useState } from "../html.js";
import { csv, saveFile } from "../parts/save.js";

const N_SAVED = 5;

const COLUMNS = [
  ["Picture", ({ picture }) => picture.name],
  ["Label", ({ entry }) => entry?.predictions?.[0].label ?? ""],
  ["Score", ({ entry }) => entry?.predictions?.[0].score ?? -1],
  ["Next label", ({ entry }) => entry?.predictions?.[1]?.label ?? ""],
];
const SCORE = 2;

export function Table({ pictures, entryOf, choose }) {
  const [[by, down], setOrder] = useState([null, false]);
  const rows = pictures.map((picture) => ({ picture, entry: entryOf(picture) }));
  if (by !== null) rows.sort((a, b) => compare(COLUMNS[by][1](a), COLUMNS[by][1](b)) * (down ? -1 : 1));
  const sort = (column) => setOrder(by === column ? [column, !down] : [column, column === SCORE]);
  const save = () => {
    const ranks = Array.from({ length: N_SAVED }, (_, i) => [`label ${i + 1}`, `score ${i + 1}`]).flat();
    const lines = rows.map(({ picture, entry }) =>
      [picture.name, ...(entry?.predictions ?? []).slice(0, N_SAVED).flatMap(({ label, score }) => [label, score])]);
    saveFile("labels.csv", csv([["picture", ...ranks], ...lines]));
  };
  const nDone = rows.filter(({ entry }) => entry?.predictions && !entry.busy).length;
  return html`
    <section class="panel across" aria-label="All pictures and their labels">
      <p class="row">
        <span class="status" role="status">${nDone} of ${rows.length} pictures classified</span>
        <span class="spring"></span>
        <button type="button" class="quiet small" onClick=${save}>Save as CSV</button>
      </p>
      <div class="table-frame" tabindex="0" role="region" aria-label="Table of labels">
        <table>
          <thead>
            <tr>
              ${COLUMNS.map(([title], i) => html`
                <th key=${title} scope="col" class=${i === SCORE ? "number" : undefined}
                    aria-sort=${by === i ? (down ? "descending" : "ascending") : undefined}>
                  <button type="button" onClick=${() => sort(i)}>${title}</button>
                </th>`)}
            </tr>
          </thead>
          <tbody>
            ${rows.map(({ picture, entry }) => html`
              <tr key=${picture.key}>
                <th scope="row">
                  <button type="button" class="link" onClick=${() => choose(picture)}>${picture.name}</button>
                </th>
                ${entry?.problem
                  ? html`<td colspan="3" class="refused">${entry.problem.detail}</td>`
                  : html`
                    <td>${entry?.predictions?.[0].label ?? "…"}</td>
                    <td class="number">${entry?.predictions ? percent(entry.predictions[0].score, 1) : ""}</td>
                    <td>${entry?.predictions?.[1]?.label ?? ""}</td>`}
              </tr>`)}
          </tbody>
        </table>
      </div>
    </section>`;
}

const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b));
