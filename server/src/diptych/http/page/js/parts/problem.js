/** An error in words, with a way to go on. */

import { html } from "../html.js";

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
