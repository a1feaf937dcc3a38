/** Names and states of collections. */

import { html } from "../html.js";

/** What a name may be, as a pattern of HTML. */
export const NAME = "[a-z0-9][a-z0-9._\\-]{0,63}";

/** "ready", "embedding" or "unserved", with the reason where there is one. */
export function State({ collection: { state, reason, stays } }) {
  const kind = state === "ready" ? "good" : state === "embedding" ? "" : "bad";
  return html`<span class="tag ${kind}" title=${reason || stays || undefined}>${state}</span>`;
}
