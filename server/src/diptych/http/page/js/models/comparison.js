/** Two versions side by side: numbers of each collection, and the queries whose pictures changed most. */

import { addressOf } from "../address.js";
import { count, percent } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { Problem, Spinner } from "../parts/feedback.js";
import { Picture } from "../parts/thumbnail.js";
import { client, isAbort } from "../server.js";

const N_SHOWN = 6;

export function Comparison({ name, version, against }) {
  const [comparison, setComparison] = useState(null);
  const [problem, setProblem] = useState(null);
  const [again, setAgain] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    setProblem(null);
    client.compareVersions(name, against, version, { signal: controller.signal })
      .then(setComparison, (error) => { if (!isAbort(error)) setProblem(error); });
    return () => controller.abort();
  }, [name, version, against, again]);
  return html`
    <div class="view-head">
      <h2><a href=${addressOf("models")}>Models</a> / ${name} version ${version} beside ${against}</h2>
    </div>
    <${Problem} problem=${problem} retry=${() => setAgain(again + 1)}/>
    ${!comparison && !problem && html`
      <p class="row">
        <${Spinner} label="Comparing"/><span class="status">Comparing searches of both versions</span>
      </p>`}
    ${comparison && html`
      <${Quality} comparison=${comparison}/>
      ${comparison.collections.length === 0 && html`
        <p class="notice">No collection has vectors of both versions. A rollout makes them.</p>`}
      ${comparison.collections.map((one) => html`
        <${Changed} key=${one.collection} collection=${one} version=${version} against=${against}/>`)}`}`;
}

/** One row a collection, and one a label set that was reviewed. */
export function Quality({ comparison }) {
  if (!comparison.collections.length) return null;
  return html`
    <div class="table-frame">
      <table>
        <thead>
          <tr>
            <th scope="col">Collection</th>
            <th scope="col" class="number">Pictures</th>
            <th scope="col" class="number">With a vector</th>
            <th scope="col" class="number">Same among ten hits</th>
          </tr>
        </thead>
        <tbody>
          ${comparison.collections.map(({ collection, n_images: n, coverage, overlap_at_10: overlap }) => html`
            <tr key=${collection}>
              <th scope="row">${collection}</th>
              <td class="number">${count(n)}</td>
              <td class="number">${percent(coverage)}</td>
              <td class="number">${overlap === null ? "" : percent(overlap)}</td>
            </tr>`)}
        </tbody>
      </table>
    </div>
    <${Labels} comparison=${comparison}/>`;
}

function Labels({ comparison }) {
  const rows = comparison.collections.flatMap(({ collection, labels }) =>
    labels.map((one) => ({ collection, ...one })));
  if (!rows.length) return null;
  return html`
    <div class="table-frame">
      <table>
        <thead>
          <tr>
            <th scope="col">Label set</th>
            <th scope="col" class="number">Reviewed</th>
            <th scope="col" class="number">Old agrees</th>
            <th scope="col" class="number">New agrees</th>
            <th scope="col" class="number">Gained</th>
            <th scope="col" class="number">Lost</th>
          </tr>
        </thead>
        <tbody>
          ${rows.map((one) => html`
            <tr key=${`${one.collection} ${one.label_set}`}>
              <th scope="row">
                ${one.label_set} of ${one.collection}
                ${one.agrees_less && html`${" "}<span class="tag bad">agrees less</span>`}
              </th>
              <td class="number">${count(one.n)}</td>
              <td class="number">${percent(one.n_agree_old / one.n)}</td>
              <td class="number">${percent(one.n_agree_new / one.n)}</td>
              <td class="number">${count(one.n_gained)}</td>
              <td class="number">${count(one.n_lost)}</td>
            </tr>`)}
        </tbody>
      </table>
    </div>`;
}

function Changed({ collection: { collection, changed }, version, against }) {
  if (!changed.length) return null;
  return html`
    <section class="panel" aria-label="Changed searches of ${collection}">
      <h3>${collection}: searches that changed most</h3>
      ${changed.map(({ text, id, old: before, new: after, overlap }) => html`
        <div class="changed" key=${text ?? id}>
          <p>
            ${text
              ? `“${text}”`
              : html`pictures like <${Picture} collection=${collection} id=${id} alt=${id} title=${id}/>`}${" "}
            <span class="status">${percent(overlap)} the same</span>
          </p>
          <${Row} collection=${collection} label="version ${against}" ids=${before}/>
          <${Row} collection=${collection} label="version ${version}" ids=${after}/>
        </div>`)}
    </section>`;
}

function Row({ collection, label, ids }) {
  return html`
    <div class="changed-row">
      <span class="status">${label}</span>
      <ul class="strip">
        ${ids.slice(0, N_SHOWN).map((id) => html`
          <li key=${id}>
            <a href=${addressOf("search", { collection, picture: id })} title=${id}>
              <${Picture} collection=${collection} id=${id} alt=${id}/>
            </a>
          </li>`)}
      </ul>
    </div>`;
}
