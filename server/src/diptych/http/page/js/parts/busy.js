/** Parts for work that goes on: a spinner that waits before it shows, and a bar. */

import { html } from "../html.js";

/** Appears after half a second, so that quick answers do not flicker. */
export const Spinner = ({ label = "Working" }) => html`<span class="spinner" role="status" aria-label=${label}></span>`;

/** `done` of `total`; without a total the bar only moves. */
export function Progress({ done, total, label }) {
  const known = total > 0;
  return html`
    <progress aria-label=${label} max=${known ? total : undefined} value=${known ? done : undefined}></progress>`;
}
