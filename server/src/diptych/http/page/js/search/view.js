/** The search view: a query, filters, and the pictures that answer it. */

import { addressOf, changeParams, goTo } from "../address.js";
import { count, plural } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { Problem } from "../parts/feedback.js";
import { Grid, isFocusLost } from "../parts/grid.js";
import { addable, shownCollection, useCollections, useGrowing } from "../collections/chosen.js";
import { DropZone } from "../collections/drop_zone.js";
import { AddButton, AddingBar } from "../collections/adding_bar.js";
import { client, isPassing, isReadOnly, noteModel, served } from "../server.js";
import { useStore } from "../store.js";
import { Credits } from "./credits.js";
import { chosenThere, Filters, noteTagged, useFields } from "./filters.js";
import { useMonths } from "./months.js";
import { canSort, isByDate, nUndated, Order, orderOf } from "./order.js";
import { PictureDialog } from "./picture.js";
import { QueryBar } from "./query_bar.js";
import {
  askedOf, chosenOf, filterOf, hasLostUpload, matchOf, paramOfChosen, paramsOfParts, partsOf, queryOf,
} from "./query.js";
import { useResults } from "./results.js";
import { SelectionBar, useSelection } from "./selection.js";
import { deleteWithUndo, hidden, withoutHidden } from "./deleting.js";
import { Suggestions } from "./suggestions.js";
import { Tile } from "./tile.js";
import { TileSize, useTileShape } from "./tile_size.js";

const PAGE = 100;
const BROWSE_PAGE = 500;
/** The state of a step of the history that a click on a picture made. */
const OPENED = { isPicture: true };
const AHEAD = 20;  // further pictures are read before the arrow keys reach the last one
const MAX_HITS = 2000;  // further down nobody looks, and nothing fits
const UNLIKELY = 0.195;  // relevance, which tiles show as 20 %, below which all hits together are hardly an answer

/** How a list is in the order of dates; `counted` are the months of all of it, of a search they are not known. */
const datedBy = ({ orderBy, direction }, counted) => ({
  field: orderBy, isDescending: direction === "desc", months: counted?.months, total: counted?.n_images,
});

/** Reads the pictures of a collection, without an `order` in that of their ids. */
function browsePages(collection, filter, order) {
  let after = null;
  return async (start, signal) => {
    if (start === 0) after = null;  // the list is read anew, such as after pictures were added
    const asked = { after, limit: BROWSE_PAGE, filter, ...order, signal };
    const isFirst = start === 0 && isByDate(order);
    const [{ images, next, total }, counted] = await Promise.all([
      client.listImages(collection, asked),
      isFirst ? client.months(collection, order.orderBy, { filter, signal }) : null,
    ]);
    after = next;
    return { items: images, done: next === null, total, dated: isFirst && datedBy(order, counted) };
  };
}

/** Reads the hits of a search, best first. With an `order` those that may fit, or the nearest ones if none does. */
function searchPages(collection, parts, filter, order) {
  let sorted = false;
  return async (offset, signal) => {
    const started = performance.now();
    const asked = { collection, k: PAGE, offset, filter: filter ?? undefined, match: matchOf(parts), signal };
    const search = (more) => client.search(queryOf(parts), { ...asked, ...more });
    if (offset === 0) sorted = Boolean(order.orderBy);
    let answer = await search(sorted ? order : {});
    if (sorted && offset === 0 && !answer.hits.length) {
      sorted = false;
      answer = await search({});
    }
    noteModel(answer.model);
    const last = answer.hits.length < PAGE || offset + PAGE >= MAX_HITS;
    return {
      isSearch: true,
      items: answer.hits,
      done: last,
      elapsed_ms: performance.now() - started,
      sorted,
      dated: sorted && isByDate(order) && datedBy(order),
      sortedAll: answer.sorted_all,
      truncated: answer.truncated,
      wordsIncomplete: answer.words_incomplete,
    };
  };
}

export function SearchView({ params }) {
  const collections = useCollections();
  const chosen = shownCollection(collections, params.get("collection"));
  if (chosen.missing) return html`<${NoSuchCollection} name=${chosen.name}/>`;
  return html`<${Search} key=${chosen.name} collection=${chosen} params=${params}/>`;
}

export function NoSuchCollection({ name, view = "search" }) {
  return html`
    <div class="empty">
      <strong>There is no collection “${name}” here</strong>
      <p>It was renamed or deleted, or your key does not see it.</p>
      <a class="quiet button" href=${addressOf(view)}>Show another one</a>
    </div>`;
}

function Search({ collection, params }) {
  const { name, n_images: total } = collection;
  const parts = partsOf(params);
  const only = chosenOf(params);
  const filter = filterOf(only);
  const asked = askedOf(parts);
  const fields = useFields(name, total);
  const sorts = canSort(asked, useStore(served));
  const order = sorts ? orderOf(params) : {};
  const key = JSON.stringify([name, asked, only, order]);
  const readPage = useMemo(
    () => (asked.length ? searchPages(name, asked, filter, order) : browsePages(name, filter, order)), [key]);
  const changes = asked.length ? total > 0 : total;  // what else gives other answers
  const { results, stale, retry } = useResults(`${key} ${changes}`, total || filter ? readPage : null);
  useStore(hidden);
  const items = total || filter ? withoutHidden(name, results?.items ?? null) : [];
  const selection = useSelection(items ?? [], key);
  const asks = asked.length > 0;
  const isSearch = Boolean(results?.about.isSearch);  // those of the former query stay until the new ones are there
  usePassing(results?.problem, retry);
  useGrowing(total === 0);

  const openPicture = (id) => changeParams({ picture: id }, { state: OPENED });
  const closePicture = () => {
    if (history.state?.isPicture) history.back();  // else "Back" would show the same view again
    else changeParams({ picture: null }, { replace: true });
  };
  const setParts = (next, options) => changeParams({ ...paramsOfParts(next), picture: null }, options);
  const setOnly = (next) => changeParams({ only: paramOfChosen(next) }, { replace: true });
  const setOrder = (next) => changeParams({ order: next }, { replace: true });
  const paramsFor = async (other) => ({
    ...paramsOfParts(parts.filter(({ kind }) => kind !== "id")),  // a picture is of its collection
    only: paramOfChosen(await chosenThere(other, only)),
    order: params.get("order"),
  });
  useEffect(() => { window.scrollTo({ top: 0 }); }, [key]);

  const nFit = items && isSearch ? countFitting(items) : null;
  const shown = items ?? [];
  const line = nFit && nFit < shown.length ? nFit : null;
  const months = useMonths(results, shown);
  const sections = useMemo(() => (line ? [{ at: line, text: "Less relevant" }] : months), [line, months]);
  const shape = useTileShape(shown);
  const hasText = asked.some(({ kind, weight }) => kind === "text" && weight > 0);
  const nLeftOut = results ? results.items.length - shown.length : 0;
  const known = isSearch || results?.done ? shown.length : (results?.about.total ?? total) - nLeftOut;
  const opened = params.get("picture");
  const openedAt = opened ? shown.findIndex(({ id }) => id === opened) : -1;
  const status = useRef(null);
  const [focusAt, setFocusAt] = useState(null);
  const remove = (some) => {
    const index = shown.findIndex(({ id }) => some.some((one) => one.id === id));
    const focusThere = () => {
      status.current?.blur();  // it had the focus where no picture was left
      setFocusAt({ index: Math.max(0, index) });
    };
    deleteWithUndo(name, some, { onUndo: focusThere });
    focusThere();
  };
  useEffect(() => {
    if (!focusAt || shown.length) return;
    if (isFocusLost()) status.current.focus();
    setFocusAt(null);
  }, [focusAt]);
  useEffect(() => { if (openedAt >= 0) results.want(openedAt + AHEAD); }, [results, openedAt]);

  return html`
    <${DropZone} target=${addable(collection)}>
      <div class="sticky">
        <${QueryBar} collection=${name} parts=${parts} onChange=${setParts} busy=${stale && total > 0}/>
      </div>
      <div class="toolbar">
        <${CollectionChooser} name=${name} paramsFor=${paramsFor}/>
        <${Filters} collection=${name} total=${total} fields=${fields} parts=${asked} only=${only}
          onChange=${setOnly}/>
        ${sorts && total > 0 && html`
          <${Order} fields=${fields} params=${params} isSearch=${asks}
            onChange=${setOrder}/>`}
        <p id="find-status" class="status" role="status" tabindex="-1" ref=${status}>
          ${items && statusOf({
            results, isSearch, total, nFit, hasText, filter, nLast: nUndated(fields, order, total),
            showAll: () => setOrder(null),
          })}
        </p>
        ${shown.length > 0 && html`<${TileSize}/>`}
        ${shown.length > 0 && selection.Toggle}
        <${AddButton} target=${addable(collection)}/>
      </div>
      ${!asks && !filter && total > 0 && html`
        <${Suggestions} collection=${name} target=${addable(collection)}/>`}
      <${AddingBar}/>
      ${results?.problem && !isPassing(results.problem) && html`
        <${Problem} problem=${results.problem} retry=${retry}/>`}
      ${results?.problem && isPassing(results.problem) && !items?.length && html`
        <${Waiting} problem=${results.problem}/>`}
      ${hasLostUpload(params) && html`
        <p class="notice">
          This query had a picture that only the tab knows to which it was given. Choose it again with “By picture”.
        </p>`}
      <${SelectionBar} selection=${selection} collection=${name} items=${shown} remove=${remove}/>
      ${items === null && !results?.problem && html`<${Placeholders}/>`}
      ${total === 0 && !filter && html`<${NoPictures} target=${addable(collection)}/>`}
      ${items?.length === 0 && results?.done && (asks || filter) && html`
        <${NothingFound} filter=${filter} clear=${() => setOnly({})}/>`}
      ${shown.length > 0 && html`
        <${Grid} n=${known} busy=${stale}
          label=${isSearch && !results?.about.sorted ? "Pictures, best match first" : "Pictures"}
          sections=${sections} scrubs=${months.length > 0} ...${shape}
          need=${(n) => results.want(n)} extend=${selection.extend} focusAt=${focusAt}
          onFocused=${() => setFocusAt(null)}
          tile=${(i, place, side) => html`
            <${Tile} key=${shown[i]?.id ?? i} item=${shown[i]} place=${place} side=${side}
              poor=${nFit > 0 && i >= nFit} selection=${selection} open=${openPicture}/>`}/>
        <${Credits} items=${shown}/>`}
      ${opened && html`
        <${PictureDialog} collection=${name} id=${opened} items=${items ?? []} isSearch=${isSearch}
          parts=${parts} filter=${filter}
          open=${(id) => changeParams({ picture: id }, { replace: true })}
          onParts=${setParts}
          onChanged=${({ id, metadata }) => { results?.change(id, { metadata }); noteTagged(); }}
          remove=${remove} onClose=${closePicture}/>`}
    <//>`;
}

/** Hits that carry the words or may fit by their meaning come first. */
function countFitting(items) {
  const first = items.findIndex(({ matched }) => !matched.length);
  return first < 0 ? items.length : first;
}

/** None of the hits that may fit, which may be none at all, carries the words or is likely to be meant. */
const areUnlikely = (hits) =>
  hits.every(({ matched, relevance }) =>
    !matched.includes("words") && typeof relevance === "number" && relevance < UNLIKELY);

const NOT_SURE = "Not sure: best guesses first";
const NO_GOOD_FIT = "Nothing fits well: best guesses first";
const HINT = html`. Try other words<span class="wordy">${" "}or an exact name</span>`;

function statusOf({ results, isSearch, total, nFit, hasText, filter, nLast, showAll }) {
  const { about, items, done } = results ?? { about: {}, items: [], done: true };
  const all = plural(total, "picture");
  if (!isSearch && filter) return `${plural(about.total ?? items.length, "picture")} of ${all}`;
  if (!isSearch) return nLast > 0 ? `${all}, ${count(nLast)} without a date last` : all;
  const took = `${Math.max(1, Math.round(about.elapsed_ms ?? 0))} ms`;
  if (!items.length) return `Nothing found, ${took}`;
  const read = [
    about.truncated && ", the text was longer than the model reads",
    about.sortedAll === false && ", sorted among the best ones",
    about.wordsIncomplete && ", words of names and metadata are still being indexed",
  ].filter(Boolean).join("");
  if (about.sorted) {
    const nOthers = total - items.length;
    return html`
      ${done ? "" : "At least "}${count(items.length)} of ${count(total)} may fit${read}${nOthers > 0 && html`,${" "}
      ${done && !filter ? count(nOthers) : "the others"} left out${" "}
      <button type="button" class="link" onClick=${showAll}>Show them all</button>`}`;
  }
  if (areUnlikely(items.slice(0, nFit))) return html`${nFit ? NOT_SURE : NO_GOOD_FIT}${read}${hasText && HINT}`;
  if (nFit < items.length) return `${nFit} of ${all} may fit, ${took}${read}`;
  return `${done ? "" : "Best "}${items.length} of ${all}, ${took}${read}`;
}

/** Ask again by itself while the server is loading or busy. */
export function usePassing(problem, retry) {
  useEffect(() => {
    if (!problem || !isPassing(problem)) return undefined;
    const timer = setTimeout(retry, 1000 * (problem.retryAfterSeconds ?? 1));
    return () => clearTimeout(timer);
  }, [problem]);
}

/** `paramsFor(collection)` resolves to what stays in the address of another collection. */
export function CollectionChooser({ name, view = "search", paramsFor = () => ({}) }) {
  const collections = useCollections();
  if (collections.length < 2) return null;
  const choose = async ({ target: { value } }) =>
    goTo(addressOf(view, { ...await paramsFor(value), collection: value }));
  return html`
    <label class="collection">
      <span class="unseen">Collection</span>
      <select id="collection" value=${name} onChange=${choose}>
        ${collections.map((one) => html`<option key=${one.name} value=${one.name}>${one.name}</option>`)}
      </select>
    </label>`;
}

const Placeholders = () => html`
  <ul class="placeholders" aria-hidden="true">${Array.from({ length: 24 }, (_, i) => html`<li key=${i}></li>`)}</ul>`;

function titleOf({ kind, status }) {
  if (kind === "unreachable") return "No answer from the server";
  return status === 429 ? "The server is busy" : "Not ready yet";
}

const Waiting = ({ problem }) => html`
  <div class="empty" role="status">
    <strong>${titleOf(problem)}</strong>
    <p>${problem.detail}</p>
    <p>The search is asked again by itself.</p>
  </div>`;

const NothingFound = ({ filter, clear }) => html`
  <div class="empty">
    <strong>Nothing found</strong>
    <p>${filter ? "No picture passes these filters." : "The collection has no picture that can be searched."}</p>
    ${filter && html`<button type="button" class="quiet" onClick=${clear}>Clear the filters</button>`}
  </div>`;

const NoPictures = ({ target }) => html`
  <div class="empty">
    <strong>No pictures here yet</strong>
    ${target
      ? html`
        <p>Drop some here, choose them with the button above, or add a folder:</p>
        <code>${addCommand(target).split(" ").map((word) => html`<span key=${word}>${word}</span>${" "}`)}</code>`
      : html`
        <p>${isReadOnly() ? "This server is read-only: nothing can be added." : "Your key may look, but not add."}</p>`}
  </div>`;

/** The command that adds a folder to the collection; it looks for the server where it is by default. */
function addCommand(collection) {
  const here = new URL(".", document.baseURI).href.replace(/\/$/, "");
  const url = here === "http://127.0.0.1:8000" ? "" : ` --url ${here}`;
  return `diptych add${url} --collection ${collection} FOLDER`;
}
