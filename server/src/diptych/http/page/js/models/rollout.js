/** One move of the server, as it goes on. */

import { count, duration, plural } from "../format.js";
import { html, useState } from "../html.js";
import { Problem, Progress } from "../parts/feedback.js";
import { client, may } from "../server.js";
import { Quality } from "./comparison.js";

export const ENDED = ["active", "failed", "cancelled"];

const STEPS = {
  waiting: "waits for another rollout",
  discovered: "found; its files are checked",
  verified: "files checked; it is loaded and proven",
  proven: "proven; it is warmed up",
  warmed: "warmed up",
  embedding: "embedding the collections",
  compared: "compared with what serves",
  active: "serves",
  failed: "failed",
  cancelled: "cancelled",
};

export function Rollout({ rollout, onClose }) {
  const [problem, setProblem] = useState(null);
  const { target, state, progress, reason, comparison } = rollout;
  const ended = ENDED.includes(state);
  const cancel = () => client.cancelRollout(rollout.id).catch(setProblem);
  const kind = state === "failed" ? "bad" : state === "active" ? "good" : "";
  return html`
    <section class="panel rollout" aria-label="Rollout">
      <div class="row">
        <strong>${target.name} version ${target.version}, ${target.precision}</strong>
        <span class="tag ${kind}" role="status">${STEPS[state]}</span>
        <span class="spring"></span>
        ${!ended && may("admin") && html`<button type="button" class="quiet small" onClick=${cancel}>Cancel</button>`}
        ${ended && html`<button type="button" class="quiet small" onClick=${onClose}>Close</button>`}
      </div>
      ${progress && !ended && html`
        <${Progress} done=${progress.n_embedded} total=${progress.n_images} label="Embedded pictures"/>
        <p class="status">
          ${count(progress.n_embedded)} of ${plural(progress.n_images, "picture")}
          ${progress.images_per_s ? `, ${progress.images_per_s.toFixed(1)} a second` : ""}
          ${progress.eta_s ? `, about ${duration(progress.eta_s)} left` : ""}
        </p>`}
      ${reason && html`<p class=${state === "failed" ? "refused" : "status"}>${reason}</p>`}
      ${comparison && html`<${Quality} comparison=${comparison}/>`}
      <${Problem} problem=${problem}/>
    </section>`;
}
