/** What one is told about work: a spinner that waits before it shows, a bar, and an error with a way to go on. */

import { html } from "../html.js";

/** Appears after half a second, so that quick answers do not flicker. */
export const Spinner = ({ label = "Working" }) => html`<span class="spinner" role="status" aria-label=${label}></span>`;

/** `done` of `total`; without a total the bar only moves. */
export function Progress({ done, total, label }) {
  const known = total > 0;
  return html`
    <progress aria-label=${label} max=${known ? total : undefined} value=${known ? done : undefined}></progress>`;
}

/** `retry`, if given, is called by a button "Try again". */
export function Problem({ problem, retry, dismiss }) {
  if (!problem) return null;
  return html`
    <div class="problem" role="alert">
      <strong>${problem.title}</strong>
      <p>${problem.detail}</p>
      ${problem.requestId && html`<p class="request-id">Request ${problem.requestId}</p>`}
      ${(retry || dismiss) && html`
        <p class="row">
          ${retry && html`<button type="button" class="quiet" onClick=${retry}>Try again</button>`}
          ${dismiss && html`<button type="button" class="quiet" onClick=${dismiss}>Close</button>`}
        </p>`}
    </div>`;
}
