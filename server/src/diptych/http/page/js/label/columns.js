/** The pictures of a set in columns by label: the uncertain ones first, then those that were reviewed. */

import { addressOf } from "../address.js";
import { count, percent, plural } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problem } from "../parts/feedback.js";
import { Picture } from "../parts/thumbnail.js";
import { toast } from "../parts/toasts.js";
import { client, may } from "../server.js";
import { hidden, withoutHidden } from "../search/deleting.js";
import { useSelection } from "../search/selection.js";
import { useResults } from "../search/results.js";
import { useStore } from "../store.js";
import { give, labelKey, takeBack } from "./answers.js";

const PAGE = 60;
const MAX_COLUMNS = 24;  // of a set with more labels, those with the most pictures
const MARGIN = "300px";
const NARROW = "(max-width: 759px)";

export const labelName = (label) => label || "None of these";

/** Pages of a label: what nobody reviewed, the smallest margin first; after them what was reviewed, by id. */
function pagesOf({ collection, set }, label, first) {
  let after = null;
  let isReviewed = false;
  return async (start, signal) => {
    const asked = { label, limit: start ? PAGE : Math.max(PAGE, first), signal };
    const page = await client.labelledImages(collection, set, { ...asked, after, uncertainFirst: !isReviewed });
    const items = isReviewed ? page.images.filter(({ verdict }) => verdict) : page.images;
    after = page.next;
    const done = isReviewed && after === null;
    if (after === null) isReviewed = true;
    return { items, done };
  };
}

/** `open(item, items)` shows a picture large. */
export function Columns({ place, report, touched, nOthers, open }) {
  const isNarrow = useMatches(NARROW);
  const [all, setAll] = useState(false);
  const [tab, setTab] = useState(null);
  const selection = useSelection([], labelKey(place, ""));
  const counts = [...report.counts, { label: "", n: report.n_without_label }];
  const shown = all || counts.length <= MAX_COLUMNS + 1
    ? counts : [...counts.slice(0, -1).sort((a, b) => b.n - a.n).slice(0, MAX_COLUMNS), counts.at(-1)];
  const chosen = shown.find(({ label }) => label === tab) ?? shown[0];
  const column = ({ label, n }) => html`
    <${Column} key=${label} place=${place} label=${label} n=${n} open=${open} selection=${selection}
      version=${JSON.stringify([report.revision, report.model, n, nOthers, touched[labelKey(place, label)]])}/>`;
  return html`
    <section class="panel columns" aria-label="Pictures by label">
      <div class="view-head">
        <h2>Pictures by label</h2>
        <span class="spring"></span>
        ${may("write") && selection.Toggle}
      </div>
      <${Correction} place=${place} selection=${selection} labels=${report.labels.map(({ label }) => label)}
        kind=${report.kind}/>
      ${isNarrow
        ? html`
          <div class="tabs" role="tablist" aria-label="Labels">
            ${shown.map(({ label, n }) => html`
              <button key=${label} type="button" role="tab" aria-selected=${String(label === chosen.label)}
                onClick=${() => setTab(label)}>
                ${labelName(label)} <span class="number">${count(n)}</span>
              </button>`)}
          </div>
          ${column(chosen)}`
        : html`<div class="column-row" tabindex="0" role="region" aria-label="Columns">${shown.map(column)}</div>`}
      ${shown.length < counts.length && html`
        <p>
          <button type="button" class="link" onClick=${() => setAll(true)}>
            All ${count(counts.length - 1)} labels
          </button>
        </p>`}
    </section>`;
}

function useMatches(query) {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const read = () => setMatches(list.matches);
    list.addEventListener("change", read);
    return () => list.removeEventListener("change", read);
  }, []);
  return matches;
}

/** Its pictures are read once it is in sight, or nearly. */
function useInSight(element) {
  const [isInSight, setInSight] = useState(false);
  useEffect(() => {
    const look = (entries) => setInSight(entries.at(-1).isIntersecting);
    const observer = new IntersectionObserver(look, { rootMargin: MARGIN });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return isInSight;
}

function Column({ place, label, n, version, open, selection }) {
  const root = useRef(null);
  const isInSight = useInSight(root);
  const [wanted, setWanted] = useState(null);  // the version that was in sight
  useEffect(() => { if (isInSight) setWanted(version); }, [isInSight, version]);
  const before = useRef(0);
  const { results, retry } = useResults(wanted ?? "", wanted && n ? pagesOf(place, label, before.current) : null);
  useEffect(() => { results?.want(Math.max(PAGE, before.current)); }, [results]);
  useStore(hidden);
  const items = withoutHidden(place.collection, n ? results?.items ?? [] : []);
  before.current = items.length;
  const more = () => results.want(items.length + PAGE);
  const find = addressOf("search", {
    collection: place.collection, only: JSON.stringify({ label: { set: place.set, in: [label || null] } }),
  });
  return html`
    <section class="column" ref=${root} aria-label=${labelName(label)}>
      <header>
        <h3 title=${labelName(label)}>${labelName(label)}</h3>
        <span class="status">${count(n)}</span>
        <span class="spring"></span>
        ${n > 0 && html`<a href=${find} aria-label="Search in ${labelName(label)}">Search</a>`}
      </header>
      ${results?.problem && html`<${Problem} problem=${results.problem} retry=${retry}/>`}
      ${n === 0 && html`<p class="status">No picture</p>`}
      <ul class="column-tiles" onKeyDown=${moveFocus}>
        ${items.map((item, i) => html`
          <${Labelled} key=${item.id} place=${place} item=${item} isFirst=${i === 0} selection=${selection}
            onClick=${(event) => {
              if (selection.active || event.shiftKey) selection.toggle(item, i, event.shiftKey, items, label);
              else open(item, items);
            }}/>`)}
      </ul>
      ${results && !results.done && items.length > 0 && html`
        <button type="button" class="quiet small" onClick=${more}>More</button>`}
    </section>`;
}

/** One stop for Tab; the arrow keys go through the pictures of a column. */
function moveFocus(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const at = buttons.indexOf(event.target);
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -at, End: buttons.length };
  const step = steps[event.key];
  if (step === undefined || at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const next = buttons[Math.min(buttons.length - 1, Math.max(0, at + step))];
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function Labelled({ place, item, isFirst, selection, onClick }) {
  const { id, score, verdict } = item;
  const isSelected = selection.has(id);
  const mark = verdict ? "✓" : percent(score);
  const about = verdict ? `reviewed by ${verdict.by}` : `score ${percent(score)}`;
  return html`
    <li class=${isSelected ? "labelled selected" : "labelled"}>
      <button type="button" tabindex=${isFirst ? 0 : -1} title=${`${id}\n${about}`} aria-label="${id}, ${about}"
        role=${selection.active ? "checkbox" : undefined}
        aria-checked=${selection.active ? String(isSelected) : undefined}
        onClick=${onClick}>
        <${Picture} collection=${place.collection} id=${id}/>
        <span class=${verdict ? "mark reviewed" : "mark"} aria-hidden="true">${mark}</span>
      </button>
    </li>`;
}

/** Gives all selected pictures one label. */
function Correction({ place, selection, labels, kind }) {
  const [label, setLabel] = useState(null);
  if (!selection.active) return null;
  const { items } = selection;
  const chosen = label === "" || labels.includes(label) ? label : labels[0];
  const submit = (event) => {
    event.preventDefault();
    const answer = give(place, items, chosen === "" ? [] : [chosen]);
    selection.end();
    toast(`${plural(items.length, "picture")}: ${labelName(chosen)}`, {
      action: { label: "Undo", run: () => takeBack(place, answer) },
    });
  };
  return html`
    <form class="selection" aria-label="Selected pictures" onSubmit=${submit}>
      <strong role="status">${items.length ? `${plural(items.length, "picture")} selected` : "Choose pictures"}</strong>
      <span class="spring"></span>
      <label class="row">
        ${kind === "many" ? "Only label" : "Label"}
        <select value=${chosen} onChange=${({ target }) => setLabel(target.value)}>
          ${labels.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
          <option value="">None of these</option>
        </select>
      </label>
      <button type="submit" class="strong" disabled=${!items.length}>Give it</button>
      <button type="button" class="quiet" onClick=${selection.end}>Done</button>
    </form>`;
}
