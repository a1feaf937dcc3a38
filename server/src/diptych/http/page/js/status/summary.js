/** The first lines of the status view: whether all is well, what is served, what runs, and what the reader may do. */

import { addressOf } from "../address.js";
import { count, duration, plural } from "../format.js";
import { html } from "../html.js";
import { useGrowing } from "../collections/chosen.js";
import { isReadOnly, served } from "../server.js";
import { useStore } from "../store.js";
import { isOpen } from "./jobs.js";

const MAY = {
  read: "search, classify and embed",
  write: "add, change and delete pictures",
  admin: "manage models and keys",
};

/** `now` are the newest totals of the metrics and `jobs` those of the server; either is null while it is unknown. */
export function Summary({ now, jobs }) {
  const { state, version, models, collections, caller } = useStore(served);
  const growing = useGrowing(true);
  const isAway = state === "away";
  const troubles = isAway ? ["no answer from the server"] : troublesOf(now, models, collections ?? []);
  const { name, version: number, precision } = version.model ?? {};
  const scopes = caller?.scopes ?? Object.keys(MAY);
  const rows = [
    ["serves", name && html`<a href=${addressOf("models")}>${name} version ${number}</a>, ${precision}`],
    ["pictures", html`
      ${count(collections.reduce((sum, { n_images: n }) => sum + n, 0))} in${" "}
      <a href=${addressOf("collections")}>${plural(collections.length, "collection")}</a>`],
    ["at work on", runningText(models?.rollout, jobs, growing)],
    ["you may", `${scopes.filter((scope) => scope === "read" || !isReadOnly()).map((one) => MAY[one]).join("; ")}`
      + `${isReadOnly() ? "; this server is read-only" : ""}`],
    ["runs for", now && `${duration(now.uptime_s)}, ${plural(now.nRequests, "request")}`],
  ];
  return html`
    <section class="panel" aria-label="Summary">
      <p class="big" role="status">
        <span class="dot ${isAway ? "away" : troubles.length ? "" : "ready"}" aria-hidden="true"></span>
        ${troubles.length ? "Something needs a look" : "All is well"}
      </p>
      ${troubles.length > 0 && html`
        <ul class="troubles">${troubles.map((text) => html`<li key=${text}>${text}</li>`)}</ul>`}
      <dl class="details">
        ${rows.map(([term, value]) => value && html`<div key=${term}><dt>${term}</dt><dd>${value}</dd></div>`)}
      </dl>
    </section>`;
}

function troublesOf(now, models, collections) {
  const nErrors = now?.nErrors ?? 0;
  const unserved = collections.filter(({ state }) => state === "unserved");
  const broken = (models?.models ?? []).flatMap(({ name, broken: versions }) =>
    versions.map(({ version, reason }) => `${name} version ${version}: ${reason}`));
  return [
    ...(nErrors ? [`${plural(nErrors, "request")} failed by an error of the server; its log says why`] : []),
    ...unserved.map(({ name, reason }) => `collection ${name} is not served${reason && `: ${reason}`}`),
    ...broken,
    ...(models?.broken ?? []).map(({ folder, reason }) => `${folder}: ${reason}`),
  ];
}

function runningText(rollout, jobs, growing) {
  const open = (jobs ?? []).filter(isOpen);
  const texts = [
    rollout && `a move to ${rollout.target.name} version ${rollout.target.version}`,
    open.length > 0 && plural(open.length, "job"),
    growing?.length > 0 && `adding pictures to ${growing.join(", ")}`,
  ].filter(Boolean);
  return texts.join(", ") || (jobs && growing && "nothing");
}
