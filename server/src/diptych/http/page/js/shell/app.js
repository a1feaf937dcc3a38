/** The frame of all views: header, navigation, the dialog for a key, messages. */

import { addressOf, useAddress } from "../address.js";
import { html, useEffect, useState } from "../html.js";
import { Problem } from "../parts/feedback.js";
import { Toasts } from "../parts/toasts.js";
import { client, readServed, served } from "../server.js";
import { useStore } from "../store.js";
import { ClassifyView } from "../classify/view.js";
import { CollectionsView } from "../collections/view.js";
import { LabelView } from "../label/view.js";
import { ModelsView } from "../models/view.js";
import { SearchView } from "../search/view.js";
import { StatusView } from "../status/view.js";
import { KeyDialog } from "./key_dialog.js";
import { ModelBadge } from "./model_badge.js";

const VIEWS = [
  ["search", "Search", SearchView],
  ["classify", "Classify", ClassifyView],
  ["label", "Label", LabelView],
  ["collections", "Collections", CollectionsView],
  ["models", "Models", ModelsView],
  ["status", "Status", StatusView],
];
const READY_POLL_MS = 1500;

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Wait until the server is ready, whatever it does meanwhile, and read what it serves. */
async function connect(onProblem) {
  for (;;) {
    const state = await client.ready().then(({ ready }) => (ready ? "ready" : "loading"), () => "away");
    if (state === "ready") {
      const done = await readServed().then(() => true, (problem) => {
        const isLocked = problem.status === 401;
        if (isLocked) served.set({ state: "locked" });
        else onProblem(problem);
        return isLocked || problem.status === 403;  // asking again does not help
      });
      if (done) return;
    } else {
      served.set({ state });
    }
    await pause(READY_POLL_MS);
  }
}

export function App() {
  const { view, rest, params } = useAddress();
  const { state, version } = useStore(served);
  const [problem, setProblem] = useState(null);
  const away = state === "away" || state === "connecting" || state === "loading";
  useEffect(() => {
    if (away) connect(setProblem).then(() => setProblem(served.get().version ? null : (now) => now));
  }, [away]);
  const [, title, View] = VIEWS.find(([name]) => name === view) ?? VIEWS[0];
  useEffect(() => { document.title = title === "Search" ? "diptych" : `${title} · diptych`; }, [title]);
  return html`
    <a class="skip" href="#main" onClick=${skipTo}>Skip to the content</a>
    <header class="top">
      <h1><a class="brand" href=${addressOf("search")}>
        <svg viewBox="0 0 32 28" width="32" height="28" aria-hidden="true">
          <path d="M1 26V8a6 6 0 0 1 12 0v18zM19 26V8a6 6 0 0 1 12 0v18z"/>
          <path class="hinge-mark" d="M11 12h10M11 20h10"/>
        </svg>
        <span>diptych</span>
      </a></h1>
      <nav class="views" aria-label="Views">
        ${VIEWS.map(([name, text]) => html`
          <a key=${name} href=${addressOf(name)} data-text=${text} aria-current=${text === title ? "page" : undefined}>
            ${text}
          </a>`)}
      </nav>
      <${ModelBadge}/>
    </header>
    <main id="main" tabindex="-1" aria-label=${title}>
      ${problem && html`<${Problem} problem=${problem} retry=${() => location.reload()}/>`}
      ${state === "away" && version && html`
        <p class="notice away" role="status">No answer from the server. This page goes on as soon as it is back.</p>`}
      ${version
        ? html`<${View} rest=${rest} params=${params} key=${title}/>`
        : !problem && html`<${Waiting} state=${state}/>`}
    </main>
    <footer class="foot">
      <span>${version && `diptych ${version.version}`}</span>
      <nav aria-label="Further reading"><a href="docs">API description</a></nav>
    </footer>
    <${KeyDialog}/>
    <${Toasts}/>`;
}

function skipTo(event) {
  event.preventDefault();  // the fragment is the address of the view
  document.getElementById("main").focus();
}

const WAITING = {
  connecting: ["Connecting", "Asking the server what it serves."],
  loading: ["The model is loading", "The first start measures what is fastest on this machine; it takes some seconds."],
  away: [
    "No answer from the server",
    "It may be stopped, or the connection is down. This page goes on as soon as it is back.",
  ],
  locked: ["This server asks for a key", "Whoever runs it can make one for you."],
};

function Waiting({ state }) {
  const [title, text] = WAITING[state] ?? WAITING.connecting;
  return html`
    <div class="empty" role="status">
      <strong>${title}</strong>
      <p>${text}</p>
      ${state === "locked" && html`
        <button type="button" class="strong" onClick=${() => location.reload()}>Enter a key</button>`}
    </div>`;
}
