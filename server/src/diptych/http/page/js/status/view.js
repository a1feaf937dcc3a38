/** The status view: what the server does now, its jobs, its keys. */

import { html } from "../html.js";
import { bytes, count, duration, plural } from "../format.js";
import { Chart } from "../parts/chart.js";
import { Problem } from "../parts/problem.js";
import { changeKey, forgetKey, hasKey, may, served } from "../server.js";
import { useStore } from "../store.js";
import { Jobs } from "./jobs.js";
import { Keys } from "./keys.js";
import { useMetrics } from "./metrics.js";

const perSecond = (value) => (value < 10 ? value.toFixed(1) : count(Math.round(value)));

export function StatusView() {
  const { version } = useStore(served);
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
  return html`
    <div class="view-head">
      <h2>Status</h2>
      ${now && html`
        <span class="status">
          running for ${duration(now.uptime_s)}, ${plural(now.nRequests, "request")},${" "}
          ${plural(now.nErrors, "server error")}
        </span>`}
      <span class="spring"></span>
      ${version.read_only && html`<span class="tag">read-only</span>`}
      <${OwnKey}/>
    </div>
    ${problem && (problem.status === 401 || problem.status === 403
      ? html`<p class="notice">The metrics need a key with the scope “admin”.</p>`
      : html`<${Problem} problem=${problem}/>`)}
    ${!problem && html`
      <div class="charts">
        ${charts.map(([title, field, text]) => html`
          <${Chart} key=${field} title=${title} points=${points.map((point) => point[field])} text=${text}/>`)}
      </div>`}
    <${Jobs}/>
    ${may("admin") && html`<${Keys}/>`}`;
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
