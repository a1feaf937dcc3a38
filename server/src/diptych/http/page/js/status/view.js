/** The status view: whether all is well, jobs, keys, and below them the figures of the last minutes. */

import { html } from "../html.js";
import { bytes, count, duration } from "../format.js";
import { Problem } from "../parts/feedback.js";
import { changeKey, forgetKey, hasKey, may, served } from "../server.js";
import { useStore } from "../store.js";
import { Jobs, useJobs } from "./jobs.js";
import { Keys } from "./keys.js";
import { Chart, useMetrics } from "./metrics.js";
import { Summary } from "./summary.js";

const perSecond = (value) => (value < 10 ? value.toFixed(1) : count(Math.round(value)));

export function StatusView() {
  const jobs = useJobs();
  const { points, problem, now } = useMetrics();
  const charts = [
    ["Requests a second", "requests", perSecond],
    ["Images a second", "images", perSecond],
    ["Latency, median", "p50_s", duration],
    ["Latency, 95th percentile", "p95_s", duration],
    ["Images in a batch", "batch", (value) => value.toFixed(1)],
    ["Waiting in queues", "queued", (value) => count(Math.round(value))],
    ["Memory", "memory_bytes", bytes],
    ["Processor", "cores", (value) => `${value.toFixed(2)} cores`],
  ];
  const known = charts.filter(([, field]) => points.some((point) => point[field] !== null));
  return html`
    <div class="view-head">
      <h2>Status</h2>
      <span class="spring"></span>
      <${OwnKey}/>
    </div>
    <${Summary} now=${now} jobs=${jobs.jobs}/>
    <${Jobs} ...${jobs}/>
    ${may("admin") && html`<${Keys}/>`}
    ${problem && (problem.status === 401 || problem.status === 403
      ? html`<p class="notice">The metrics need a key with the scope “admin”.</p>`
      : html`<${Problem} problem=${problem}/>`)}
    ${!problem && html`
      <div class="charts">
        ${known.map(([title, field, text]) => html`
          <${Chart} key=${field} title=${title} points=${points.map((point) => point[field])} text=${text}/>`)}
      </div>`}`;
}

/** The key of this tab, and another one. */
function OwnKey() {
  const { caller } = useStore(served);
  return html`
    <span class="row">
      ${hasKey() && html`
        <span class="status">
          key ${caller?.key ? `“${caller.key}”` : "of this tab"}
          ${caller?.scopes ? `: ${caller.scopes.join(", ")}` : ""}
        </span>`}
      <button type="button" class="quiet small" onClick=${changeKey}>${hasKey() ? "Another key" : "Use a key"}</button>
      ${hasKey() && html`<button type="button" class="quiet small" onClick=${forgetKey}>Forget it</button>`}
    </span>`;
}
