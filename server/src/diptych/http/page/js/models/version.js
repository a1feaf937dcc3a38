/** One version: parity, metrics, its card, and the button that activates it. */

import { addressOf } from "../address.js";
import { bytes, count, moment, percent } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { Problem } from "../parts/feedback.js";
import { Markdown } from "../parts/markdown.js";
import { client, may, readModels, served } from "../server.js";
import { useStore } from "../store.js";

export function Version({ name, version, onRollout }) {
  const { models } = useStore(served);
  const [entry, setEntry] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    client.modelVersion(name, version).then(setEntry, setProblem);
  }, [name, version, models?.rollout?.id]);
  const model = models?.models.find((one) => one.name === name);
  const activate = async () => {
    setProblem(null);
    try {
      onRollout(await client.activate(name, version));
      await readModels();
      location.hash = addressOf("models");
    } catch (error) {
      setProblem(error);
    }
  };
  const active = model?.active ?? null;
  return html`
    <div class="view-head">
      <h2><a href=${addressOf("models")}>Models</a> / ${name} version ${version}</h2>
      ${entry?.active && html`<span class="tag good">serves</span>`}
      <span class="spring"></span>
      ${active !== null && active !== version && html`
        <a class="quiet button" href=${addressOf(["models", name, String(version), String(active)])}>
          Compare with version ${active}
        </a>`}
      ${entry && !entry.active && may("admin") && html`
        <button type="button" class="strong" disabled=${Boolean(models?.rollout)} onClick=${activate}>
          Activate
        </button>`}
    </div>
    <${Problem} problem=${problem}/>
    ${entry?.error && html`<p class="notice">${entry.error}</p>`}
    ${entry?.manifest && html`
      <${Parity} precisions=${entry.manifest.precisions} serving=${entry.serving}/>
      <${Facts} manifest=${entry.manifest}/>
      <${Metrics} metrics=${entry.manifest.metrics}/>`}
    ${entry?.manifest?.files["MODEL_CARD.md"] && html`<${Card} name=${name} version=${version}/>`}`;
}

/** How near each precision is to the trained model; bf16, which has no parity in the manifest, as measured here. */
function Parity({ precisions, serving }) {
  const parities = Object.entries(precisions).map(([precision, { parity }]) => [precision, parity]);
  if (serving?.parity) parities.push([serving.precision, serving.parity]);
  return html`
    <section class="panel" aria-label="Parity">
      <h3>Beside the trained model</h3>
      <div class="table-frame">
        <table>
          <thead>
            <tr>
              <th scope="col">Precision</th>
              <th scope="col" class="number">Mean cosine</th>
              <th scope="col" class="number">Lowest cosine</th>
              <th scope="col" class="number">Same best label</th><th scope="col" class="number">Measured on</th>
            </tr>
          </thead>
          <tbody>
            ${parities.map(([precision, parity]) => html`
              <tr key=${precision}>
                <th scope="row">${precision}</th>
                <td class="number">${parity ? parity.cosine_mean.toFixed(5) : "not measured"}</td>
                <td class="number">${parity?.cosine_min.toFixed(5)}</td>
                <td class="number">${parity?.top1_agreement === undefined ? "" : percent(parity.top1_agreement, 1)}</td>
                <td class="number">
                  ${parity ? `${count(parity.n_images)} pictures, ${count(parity.n_texts)} texts` : ""}
                </td>
              </tr>`)}
          </tbody>
        </table>
      </div>
    </section>`;
}

function Facts({ manifest: { family, embed_dim: width, image, text, licence, created_at: created, files } }) {
  const rows = [
    ["family", family], ["embedding", `${width} numbers`], ["pictures", `${image.size} × ${image.size} pixels`],
    ["texts", `${text.context_length} tokens`], ["licence", licence], ["made", moment(created)],
    ["size", bytes(Object.values(files).reduce((sum, file) => sum + file.bytes, 0))],
  ];
  return html`
    <section class="panel" aria-label="Facts">
      <h3>Facts</h3>
      <dl class="details">
        ${rows.map(([term, value]) => html`<div key=${term}><dt>${term}</dt><dd>${value}</dd></div>`)}
      </dl>
    </section>`;
}

/** The numbers of the metrics, in groups: `[title, [[name, value], ...]]`. */
function* groupsOf(metrics, path = []) {
  const entries = Object.entries(metrics ?? {});
  const numbers = entries.filter(([, value]) => typeof value === "number");
  if (numbers.length) yield [path.join(", "), numbers];
  for (const [name, inner] of entries) {
    const isGroup = inner !== null && typeof inner === "object" && !Array.isArray(inner);
    if (isGroup) yield* groupsOf(inner, [...path, words(name)]);
  }
}

const words = (name) => name.replaceAll("_", " ");
const shown = (value) => (Number.isInteger(value) ? count(value) : value.toPrecision(3));

function Metrics({ metrics }) {
  const groups = [...groupsOf(metrics)];
  if (!groups.length) return null;
  return html`
    <section class="panel" aria-label="Metrics">
      <h3>Metrics</h3>
      <div class="metrics">
        ${groups.map(([title, numbers]) => html`
          <div key=${title}>
            ${title && html`<h4>${title}</h4>`}
            <dl class="details">
              ${numbers.map(([name, value]) => html`
                <div key=${name}><dt>${words(name)}</dt><dd>${shown(value)}</dd></div>`)}
            </dl>
          </div>`)}
      </div>
    </section>`;
}

function Card({ name, version }) {
  const [card, setCard] = useState(null);
  useEffect(() => { client.modelCard(name, version).then(setCard, () => setCard(null)); }, [name, version]);
  if (!card) return null;
  return html`
    <section class="panel card-text" aria-label="Model card">
      <${Markdown} text=${card} figure=${(file) => client.modelCardFile(name, version, file)}/>
    </section>`;
}
