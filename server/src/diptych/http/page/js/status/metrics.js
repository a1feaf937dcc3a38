/** Reads the metrics of the server every two seconds, makes rates of its counters, and draws them. */

import { html, useEffect, useState } from "../html.js";
import { client, noteAway } from "../server.js";

const POLL_MS = 2000;
const N_POINTS = 90;  // three minutes
/** Calls that people and programs wait for; the page's own polling is left out. */
const WORK = new Set(["/embed", "/classify", "/search", "/v1/embeddings", "/collections/{collection}/images"]);

/** The server loads its model or is at its limit: nothing is wrong. */
const BUSY = "503";

/** Lines of the Prometheus text format: `[name, labels, value]`. */
export function parseMetrics(text) {
  const lines = [];
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const pairs = [...(found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
    const labels = Object.fromEntries(pairs.map(([, name, value]) => [name, value]));
    lines.push([found[1], labels, Number(found[3])]);
  }
  return lines;
}

/** Totals of one reading. */
function totalsOf(lines) {
  const sum = (name, passes = () => true) =>
    lines.reduce((total, [one, labels, value]) => (one === name && passes(labels) ? total + value : total), 0);
  const isWork = ({ route }) => WORK.has(route);
  const buckets = new Map();
  for (const [name, labels, value] of lines) {
    if (name !== "diptych_request_seconds_bucket" || !isWork(labels)) continue;
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  const image = ({ encoder }) => encoder.endsWith("image");
  return {
    at_s: performance.now() / 1000,
    requests: sum("diptych_requests_total", isWork),
    nRequests: sum("diptych_requests_total"),
    nErrors: sum("diptych_requests_total", ({ code }) => code >= "500" && code !== BUSY),
    images: sum("diptych_batch_size_sum", image),
    batches: sum("diptych_batch_size_count", image),
    queued: sum("diptych_queue_items"),
    memory_bytes: sum("process_resident_memory_bytes"),
    cpu_s: sum("process_cpu_seconds_total"),
    uptime_s: Date.now() / 1000 - sum("process_start_time_seconds"),
    buckets: [...buckets].sort(([a], [b]) => a - b),
  };
}

/**
 * The value below which `share` of the requests between two readings lay, between the bounds of its bucket; null
 * without any.
 */
export function quantile(before, after, share) {
  const earlier = new Map(before);
  const grown = after.map(([bound, n]) => [bound, n - (earlier.get(bound) ?? 0)]);
  const total = grown.at(-1)?.[1] ?? 0;
  if (!total) return null;
  const at = grown.findIndex(([, n]) => n >= share * total);
  const [upper, n] = grown[at];
  const [lower, below] = at > 0 ? grown[at - 1] : [0, 0];
  if (upper === Infinity) return lower;
  return lower + ((upper - lower) * (share * total - below)) / Math.max(1, n - below);
}

function pointOf(before, after) {
  const elapsed_s = after.at_s - before.at_s;
  const rate = (name) => Math.max(0, after[name] - before[name]) / elapsed_s;
  const batches = after.batches - before.batches;
  return {
    requests: rate("requests"),
    images: rate("images"),
    p50_s: quantile(before.buckets, after.buckets, 0.5),
    p95_s: quantile(before.buckets, after.buckets, 0.95),
    batch: batches > 0 ? (after.images - before.images) / batches : null,
    queued: after.queued,
    memory_bytes: after.memory_bytes,
    cores: rate("cpu_s"),
  };
}

/** `points` of the last three minutes while the view is shown, and the newest totals as `now`. */
export function useMetrics() {
  const [state, setState] = useState({ points: [], problem: null, now: null });
  useEffect(() => {
    const controller = new AbortController();
    let last = null;
    let timer = 0;
    const read = async () => {
      try {
        const now = totalsOf(parseMetrics(await client.metrics({ signal: controller.signal })));
        const before = last;
        last = now;
        const isNext = before && now.at_s - before.at_s < 4 * POLL_MS / 1000;
        setState(({ points }) => ({
          points: isNext ? [...points, pointOf(before, now)].slice(-N_POINTS) : points,
          problem: null, now,
        }));
      } catch (problem) {
        if (controller.signal.aborted) return;
        noteAway(problem);
        setState((shown) => ({ ...shown, problem }));
        if (problem.status === 401 || problem.status === 403) return;
      }
      timer = setTimeout(read, POLL_MS);
    };
    read();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, []);
  return state;
}

const WIDTH = 240;
const HEIGHT = 56;

/** A line of the last minutes. `points`: numbers, at least one; null where nothing is known. `text` writes one. */
export function Chart({ title, points, text }) {
  const known = points.filter((value) => value !== null && value !== undefined);
  const highest = Math.max(...known, 0);
  const newest = known.at(-1);
  const x = (i) => WIDTH - ((points.length - 1 - i) / (N_POINTS - 1)) * WIDTH;
  const y = (value) => HEIGHT - 2 - (highest ? (value / highest) * (HEIGHT - 6) : 0);
  const line = points
    .map((value, i) => (value === null || value === undefined ? null : `${x(i).toFixed(1)},${y(value).toFixed(1)}`))
    .filter(Boolean).join(" ");
  const summary = `now ${text(newest)}, at most ${text(highest)}`;
  return html`
    <figure class="chart">
      <figcaption>${title}</figcaption>
      <strong>${text(newest)}</strong>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img"
           aria-label="${title}: ${summary}">
        ${line && html`<polyline points=${line} fill="none" vector-effect="non-scaling-stroke"/>`}
      </svg>
      <span class="status">at most ${text(highest)}</span>
    </figure>`;
}
