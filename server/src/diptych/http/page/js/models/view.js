/** The models view: versions, how they were proven, and moving the server between them. */

import { addressOf } from "../address.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { plural } from "../format.js";
import { Problem } from "../parts/feedback.js";
import { client, may, noteAway, readModels, readServed, served } from "../server.js";
import { useStore } from "../store.js";
import { Checkpoints } from "./checkpoints.js";
import { Comparison } from "./comparison.js";
import { Rollout, ENDED } from "./rollout.js";
import { Version } from "./version.js";

const POLL_MS = 1500;

export function ModelsView({ rest }) {
  const { models, version: { model: serving } } = useStore(served);
  const [last, setLast] = useState(null);  // the last rollout, so that its end is seen
  const rollout = models?.rollout ?? null;
  const open = useRef(null);
  open.current = last && !ENDED.includes(last.state) ? last : null;
  useEffect(() => {
    const read = async () => {
      if (document.hidden) return;
      const before = open.current;
      await readModels();
      const now = served.get().models.rollout ?? (before && await client.rollout(before.id));
      if (now) setLast(now);
      if (before && ENDED.includes(now.state)) await readServed();
    };
    const readQuietly = () => read().catch(noteAway);
    readQuietly();
    const timer = setInterval(readQuietly, POLL_MS);
    return () => clearInterval(timer);
  }, []);
  const [name, version, against] = rest;
  if (name && against) return html`
    <${Comparison} key=${rest.join("/")} name=${name} version=${Number(version)} against=${Number(against)}/>`;
  if (name && version) {
    return html`
      <${Version} key=${`${name}/${version}`} name=${name} version=${Number(version)} onRollout=${setLast}/>`;
  }
  return html`
    <div class="view-head">
      <h2>${serving ? `${serving.name} version ${serving.version} serves` : "Models"}</h2>
      <span class="status">${POLICIES[models?.policy]}</span>
      <span class="spring"></span>
      ${models?.previous && may("admin") && html`
        <${BackButton} previous=${models.previous} onRollout=${setLast} disabled=${Boolean(rollout)}/>`}
    </div>
    ${last && html`<${Rollout} rollout=${rollout ?? last} onClose=${() => setLast(null)}/>`}
    ${models?.models.map((model) => html`<${Model} key=${model.name} model=${model}/>`)}
    ${models?.broken.map(({ folder, reason }) => html`<p class="notice" key=${folder}>${folder}: ${reason}</p>`)}
    <${Checkpoints}/>`;
}

const POLICIES = {
  latest: "A newer version takes over by itself once it has proven itself",
  manual: "A newer version waits until it is activated",
  pinned: "Stays at the version that the settings name",
};

function Model({ model: { name, versions, active, broken, ignored, serving } }) {
  const newestFirst = versions.toSorted((a, b) => b - a);
  return html`
    <section class="panel" aria-label="Model ${name}">
      <h2>${name}</h2>
      ${serving && html`
        <p class="status">
          Served in ${serving.precision}: ${serving.reason}.
        </p>`}
      <ul class="versions">
        ${newestFirst.map((version) => html`
          <li key=${version}>
            <a href=${addressOf(["models", name, String(version)])}>version ${version}</a>
            ${version === active && html`<span class="tag good">serves</span>`}
            <span class="spring"></span>
            ${active !== null && version !== active && html`
              <a class="quiet small button" href=${addressOf(["models", name, String(version), String(active)])}>
                Compare with ${active}
              </a>`}
          </li>`)}
      </ul>
      ${[...broken, ...ignored].map(({ version, reason }) => html`
        <p class="notice" key=${version}>version ${version}: ${reason}</p>`)}
    </section>`;
}

function BackButton({ previous, onRollout, disabled }) {
  const [problem, setProblem] = useState(null);
  const { name, version, precision, n_lagging: lagging } = previous;
  const go = () => client.rollback().then(onRollout, setProblem);
  const cost = lagging ? `${plural(lagging, "picture")} must be embedded first` : "It has vectors of all pictures";
  return html`
    <button type="button" class="quiet" disabled=${disabled} title=${cost} onClick=${go}>
      Back to ${name} version ${version}, ${precision}
    </button>
    <${Problem} problem=${problem}/>`;
}
