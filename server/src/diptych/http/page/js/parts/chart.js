/** A small line chart of the last minutes. */

import { html } from "../html.js";

const WIDTH = 240;
const HEIGHT = 56;
const N_POINTS = 90;

/** `points`: numbers, at least one; null where nothing is known. `text` writes one as people read it. */
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
