/**
 * What a person said of pictures, on its way to the server: sent one after the other, and kept until it is stored, also
 * while other views are shown and when the tab is loaded anew. What is taken back goes the same way.
 */

import { unbindUndo } from "../parts/toasts.js";
import { callerName, client, isPassing, noteAway, served } from "../server.js";
import { createStore } from "../store.js";
import { restore, store, verdictsOf } from "./stored.js";

const KEPT = "diptych.answers";
const RETRY_MS = 2000;

/**
 * `waiting`: answers that are not stored yet. They wait for a server that has a `problem`; one that the server refuses
 * is set aside with the reason, `refused`. `touched`: how often an answer about a label was stored, by `labelKey`; that
 * of null is how many pictures more are reviewed. `note`: whose word was replaced, or stands. `nSurprises`: how often
 * an answer met a set or a picture that somebody had changed.
 */
export const answers = createStore({ waiting: readKept(), problem: null, touched: {}, note: null, nSurprises: 0 });

export const labelKey = ({ collection, set }, label) => JSON.stringify([collection, set, label]);
const isOf = (answer, { collection, set }) => answer.collection === collection && answer.set === set;
const waitingOf = (place) => answers.get().waiting.filter((answer) => isOf(answer, place));
export const isOfOtherKey = ({ owner }) => Boolean(owner) && owner !== callerName();
/** Answers of another key are not sent with this one. */
export const isSent = (answer) => !answer.refused && !isOfOtherKey(answer);

let history = [];  // what can be taken back, the newest last
let sending = null;
let timer = 0;
let nStored = 0;

export const hasAnswered = (place) => history.some((answer) => isOf(answer, place));

/** A time in the order of the answers that were stored. */
export const now = () => nStored;

/** When the answers about pictures were stored, by id: Infinity for those that wait. */
export function storedTimes(place) {
  const waiting = waitingOf(place);
  const undone = waiting.map(({ undoes }) => undoes);  // one of them may be on its way
  const counts = [...history, ...waiting].filter((one) => isOf(one, place) && !one.undoes && !undone.includes(one));
  return new Map(counts.flatMap(({ items, storedAt }) => items.map(({ id }) => [id, storedAt ?? Infinity])));
}

/** The answers about a set do not count any more, such as after it lost labels. */
export function forget(place) {
  history = history.filter((answer) => !isOf(answer, place));
}

/** How many more pictures are reviewed by an answer; what is taken back counts where the answer did. */
function nNewOf({ items, undoes }) {
  if (!undoes) return items.filter(({ verdict }) => !verdict).length;
  return undoes.given || answers.get().waiting.includes(undoes) ? -nNewOf(undoes) : 0;
}

/** How many more are reviewed than a report knows whose answers are `known`. */
export function countNew(place, known) {
  const waiting = waitingOf(place).filter(isSent).map(nNewOf).reduce((sum, n) => sum + n, 0);
  return waiting + newOf(place, answers.get().touched) - newOf(place, known);
}
const newOf = (place, touched) => touched[labelKey(place, null)] ?? 0;

const newKey = () => crypto.getRandomValues(new Uint32Array(1))[0];

/**
 * Say the labels of pictures: `items` are pictures as the server listed them, `labels` is empty for "none of these".
 * Returns the answer, which `takeBack` withdraws.
 */
export function give({ collection, set }, items, labels) {
  const answer = { key: newKey(), owner: callerName(), collection, set, items, labels };
  history.push(answer);
  unbindUndo();
  add(answer);
  return answer;
}

/**
 * Take back an answer about a set, the newest one by default; returns it, or null if there is none. One that may have
 * reached the server is taken back there.
 */
export function takeBack(place, answer = history.findLast((one) => isOf(one, place))) {
  if (!history.includes(answer)) return null;
  history = history.filter((one) => one !== answer);
  answers.set({ note: null });
  if (answer !== sending) setWaiting(answers.get().waiting.filter((one) => one !== answer));
  const { owner, collection, set } = answer;
  if (answer.wasSent) add({ key: newKey(), owner, collection, set, undoes: answer });
  return answer;
}

function add(answer) {
  setWaiting([...answers.get().waiting, answer]);
  send();
}

function setWaiting(waiting, changes = {}) {
  answers.set({ waiting, ...changes });
  try {
    if (waiting.length) sessionStorage.setItem(KEPT, JSON.stringify(waiting));
    else sessionStorage.removeItem(KEPT);
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

/** Send what waits. Where the server is away all of them wait; one that it refuses is set aside. */
export async function send() {
  clearTimeout(timer);
  while (!sending && served.get().version) {
    sending = answers.get().waiting.find(isSent) ?? null;
    if (!sending) return;
    const { waiting, problem } = await sendOne(sending);
    sending = null;
    setWaiting(waiting, { problem });
    if (problem) timer = setTimeout(send, RETRY_MS);
    if (problem) return;
  }
}

/** Returns what waits then, and the problem of a server that is away. */
async function sendOne(answer) {
  const without = () => answers.get().waiting.filter((one) => one !== answer);
  try {
    await (answer.undoes ? withdraw(answer.undoes) : storeOne(answer));
    return { waiting: without(), problem: null };
  } catch (problem) {
    const { waiting } = answers.get();
    if (isPassing(problem) || problem.kind === "timeout") return { waiting, problem: noteAway(problem) };
    surprise();
    if (waiting.some(({ undoes }) => undoes === answer)) return { waiting: without(), problem: null };
    answer.refused = problem.detail || problem.title || String(problem);
    if (problem.status < 500) answer.wasSent = false;
    return { waiting, problem: null };
  }
}

async function storeOne(answer) {
  const { wasSent } = answer;
  answer.wasSent = true;
  setWaiting(answers.get().waiting);
  const { note, nReplaced } = await store(answer, wasSent);
  nStored += 1;
  answer.storedAt = nStored;
  if (nReplaced) surprise();
  answers.set({ touched: touch(answer, nNewOf(answer)), note });
}

async function withdraw(answer) {
  const note = await restore(answer);
  if (note) surprise();
  answers.set({ touched: touch(answer, nNewOf({ undoes: answer })), note });
}

const surprise = () => answers.set({ nSurprises: answers.get().nSurprises + 1 });

/** Send those again that were refused. */
export function sendAgain() {
  for (const answer of answers.get().waiting) answer.refused = null;
  setWaiting(answers.get().waiting);
  send();
}

/** Leave out `some` of the answers that wait. */
export function leaveOut(some) {
  history = history.filter((one) => !some.includes(one));
  setWaiting(answers.get().waiting.filter((one) => !some.includes(one)));
  surprise();
}

/** The labels before and after an answer; an empty text stands for the pictures without one. */
function touch(answer, nNew) {
  const before = (answer.given ?? []).flatMap((one) => one.before?.labels ?? []);
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

/** A page that is being closed waits for no answer: the browser sends the rest, without what was taken back. */
function sendRest() {
  const headers = { "Content-Type": "application/json" };
  if (client.apiKey) headers.Authorization = `Bearer ${client.apiKey}`;
  const { waiting } = answers.get();
  const undone = waiting.map(({ undoes }) => undoes);
  const rest = waiting.filter((answer) => !answer.undoes && isSent(answer) && !undone.includes(answer));
  for (const answer of rest) {
    const path = ["collections", answer.collection, "label-sets", answer.set, "verdicts"];
    const url = new URL(path.map(encodeURIComponent).join("/"), client.url);
    const body = JSON.stringify({ verdicts: verdictsOf(answer) });
    answer.wasSent = true;
    fetch(url, { method: "POST", headers, body, keepalive: true }).catch(() => {});
  }
  setWaiting(waiting);
}

addEventListener("pagehide", sendRest);
addEventListener("beforeunload", (event) => { if (answers.get().problem) event.preventDefault(); });
served.subscribe(() => { if (served.get().state === "ready") send(); });
