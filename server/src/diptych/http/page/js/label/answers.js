/**
 * What a person said of pictures, on its way to the server: sent one after the other, and kept until it is stored, also
 * while other views are shown and when the tab is loaded anew.
 */

import { plural } from "../format.js";
import { toast } from "../parts/toasts.js";
import { client, isPassing, noteAway, served } from "../server.js";
import { createStore } from "../store.js";

const KEPT = "diptych.answers";
const RETRY_MS = 2000;
const AT_ONCE = 4;
const MAX_POSTED = 500;
const GONE = 404;

/**
 * `waiting`: answers that are not stored yet, of which the first has the `problem`. `touched`: how often an answer
 * about a label was stored, by `labelKey`; that of null is how many pictures more are reviewed. `note`: whose word was
 * replaced.
 */
export const answers = createStore({ waiting: readKept(), problem: null, touched: {}, note: null });

export const labelKey = ({ collection, set }, label) => JSON.stringify([collection, set, label]);
const isOf = (answer, { collection, set }) => answer.collection === collection && answer.set === set;
const waitingOf = (place) => answers.get().waiting.filter((answer) => isOf(answer, place));
export const countWaiting = (place) => waitingOf(place).length;

let history = [];  // what can be taken back, the newest last
let sending = null;
let timer = 0;

export const hasAnswered = (place) => history.some((answer) => isOf(answer, place));

/** The pictures that were answered since the page was loaded. */
export function answeredIds(place) {
  const waiting = waitingOf(place);
  const undone = waiting.map(({ undoes }) => undoes);  // one of them may be on its way
  const counts = [...history, ...waiting].filter((one) => isOf(one, place) && !one.undoes && !undone.includes(one));
  return new Set(counts.flatMap(({ items }) => items.map(({ id }) => id)));
}

/** The answers about a set do not count any more, such as after it lost labels. */
export function forget(place) {
  history = history.filter((answer) => !isOf(answer, place));
}

/** How many more pictures are reviewed by an answer. */
const nNewOf = ({ items, undoes }) => (undoes ? -nNewOf(undoes) : items.filter(({ verdict }) => !verdict).length);

/** How many more are reviewed than a report knows whose answers are `known`. */
export const countNew = (place, known) =>
  waitingOf(place).map(nNewOf).reduce((sum, n) => sum + n, newOf(place, answers.get().touched) - newOf(place, known));
const newOf = (place, touched) => touched[labelKey(place, null)] ?? 0;

/**
 * Say the labels of pictures: `items` are pictures as the server listed them, `labels` is empty for "none of these".
 * Returns the answer, which `takeBack` withdraws.
 */
export function give({ collection, set }, items, labels) {
  const answer = { key: crypto.getRandomValues(new Uint32Array(1))[0], collection, set, items, labels, given: null };
  history.push(answer);
  add(answer);
  return answer;
}

/** Take back an answer about a set, the newest one by default; returns it, or null if there is none. */
export function takeBack(place, answer = history.findLast((one) => isOf(one, place))) {
  if (!history.includes(answer)) return null;
  history = history.filter((one) => one !== answer);
  const { waiting } = answers.get();
  if (waiting.includes(answer) && answer !== sending) setWaiting(waiting.filter((one) => one !== answer));
  else add({ collection: answer.collection, set: answer.set, undoes: answer });
  answers.set({ note: null });
  return answer;
}

function add(answer) {
  setWaiting([...answers.get().waiting, answer]);
  send();
}

function setWaiting(waiting, changes = {}) {
  answers.set({ waiting, ...changes });
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(waiting));
  } catch {
    // without room they are kept in memory only
  }
}

function readKept() {
  const waiting = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
  for (const answer of waiting) {
    if (answer.undoes) answer.undoes = waiting.find(({ key }) => key === answer.undoes.key) ?? answer.undoes;
  }
  return waiting;
}

/** Send what waits. One that fails stays the first; it is sent again by itself where that may help. */
export async function send() {
  clearTimeout(timer);
  if (sending) return;
  for (;;) {
    [sending = null] = answers.get().waiting;
    if (!sending) return;
    try {
      const changes = await (sending.undoes ? restore(sending) : store(sending));
      setWaiting(answers.get().waiting.filter((one) => one !== sending), { problem: null, ...changes });
    } catch (problem) {
      sending = null;
      answers.set({ problem: noteAway(problem) });
      if (isPassing(problem) || problem.kind === "timeout") timer = setTimeout(send, RETRY_MS);
      return;
    }
  }
}

/** Leave out the answer that the server refuses. */
export function leaveOut() {
  const [refused, ...others] = answers.get().waiting;
  history = history.filter((one) => one !== refused);
  setWaiting(others, { problem: null });
  send();
}

const verdictsOf = ({ items, labels }) =>
  items.map(({ id, sha256, drawn }) => ({ id, labels, sha256, drawn: drawn || undefined }));

/** Post verdicts in parts that the server takes. */
async function post({ collection, set }, verdicts) {
  const given = [];
  const unknown = [];
  const replaced = [];
  for (let at = 0; at < verdicts.length; at += MAX_POSTED) {
    const found = await client.giveVerdicts(collection, set, verdicts.slice(at, at + MAX_POSTED));
    given.push(...found.verdicts);
    unknown.push(...found.unknown);
    replaced.push(...found.replaced);
  }
  return { given, unknown, replaced };
}

async function store(answer) {
  const { given, unknown, replaced } = await post(answer, verdictsOf(answer));
  answer.given = given;
  answer.items = answer.items.filter(({ id }) => !replaced.includes(id));  // they are asked about again
  if (replaced.length) toast(`${nameAll(replaced)} replaced by another picture meanwhile: look again`);
  if (unknown.length) toast(`${nameAll(unknown)} deleted meanwhile`);
  return { touched: touch(answer, nNewOf(answer)), note: noteOf(given) };
}

async function restore({ collection, set, undoes: answer }) {
  const given = answer.given ?? [];
  const again = given.filter(({ before }) => before).map(({ id, before }) => ({ id, labels: before.labels }));
  await post({ collection, set }, again);
  const left = given.filter(({ before }) => !before).map(({ id }) => id);
  const withdraw = async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      await client.withdrawVerdict(collection, set, id).catch((problem) => {
        if (problem.status !== GONE) throw problem;
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, withdraw));
  return { touched: touch(answer, -nNewOf(answer)) };
}

const nameAll = (ids) => (ids.length === 1 ? `“${ids[0]}” was` : `${plural(ids.length, "picture")} were`);

/** The labels before and after an answer; an empty text stands for the pictures without one. */
function touch(answer, nNew) {
  const before = answer.given.flatMap((one) => one.before?.labels ?? []);
  const labels = new Set(["", ...answer.labels, ...before, ...answer.items.flatMap((item) => item.labels)]);
  const touched = { ...answers.get().touched };
  const raise = (label, by) => {
    const key = labelKey(answer, label);
    touched[key] = (touched[key] ?? 0) + by;
  };
  for (const label of labels) raise(label, 1);
  raise(null, nNew);
  return touched;
}

/** Whether somebody else had said something of the pictures. */
function noteOf(given) {
  const me = served.get().caller?.name ?? "anyone";  // as the server calls those without a key
  const others = given.filter(({ before }) => before && before.by !== me);
  if (!others.length) return null;
  const [{ id, before }] = others;
  const said = before.labels.join(", ") || "none of these";
  const more = others.length > 1 ? `, and more of ${others.length - 1} others` : "";
  return `“${before.by}” had said ${said} of ${id}${more}. Your word is the later one, and stands.`;
}

/** A page that is being closed waits for no answer: the browser sends the rest. */
function sendRest() {
  const headers = { "Content-Type": "application/json" };
  if (client.apiKey) headers.Authorization = `Bearer ${client.apiKey}`;
  for (const answer of answers.get().waiting.filter(({ undoes }) => !undoes)) {
    const path = ["collections", answer.collection, "label-sets", answer.set, "verdicts"];
    const url = new URL(path.map(encodeURIComponent).join("/"), client.url);
    const body = JSON.stringify({ verdicts: verdictsOf(answer) });
    fetch(url, { method: "POST", headers, body, keepalive: true }).catch(() => {});
  }
}

addEventListener("pagehide", sendRest);
addEventListener("beforeunload", (event) => { if (answers.get().problem) event.preventDefault(); });
if (answers.get().waiting.length) send();
