/**
 * The server that this page came from: its client, the key that it may ask for, and what all views need to know of it.
 */

import { Client, DiptychError } from "../diptych-client/index.js";
import { createStore } from "./store.js";

const KEY = "diptych.api_key";

/**
 * `state`: connecting, loading (the model), away (no answer), locked (no key) or ready. `caller`: what the key of this
 * tab may do.
 */
export const served = createStore({
  state: "connecting", version: null, models: null, collections: null, caller: null,
});

/** The dialog that asks for a key: `{ask: null}`, or `{ask: {refused, resolve}}` while it is open. */
export const keyQuestion = createStore({ ask: null });

/** Resolves to the key that the user types, or to null. */
async function askForKey(refused) {
  const key = await new Promise((resolve) => { keyQuestion.set({ ask: { refused, resolve } }); });
  keyQuestion.set({ ask: null });
  if (key) sessionStorage.setItem(KEY, key);
  return key;
}

let dismissed = false;  // who closed the dialog is not asked again by whatever the page reads from time to time

async function askOnce() {
  if (dismissed) return null;
  const key = await askForKey(client.apiKey !== null);
  dismissed = !key;
  return key;
}

/**
 * Errors of the views are `DiptychError`s; a search that fails is asked again by the view, which shows that it waits.
 */
export const client = new Client(undefined, {
  apiKey: sessionStorage.getItem(KEY),
  retries: 0,
  onUnauthorized: askOnce,
});

/** Open the dialog for another key, such as one that may do more. */
export async function changeKey() {
  if (await askForKey(false)) location.reload();
}

/** Forget the key of this tab. */
export function forgetKey() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

export const hasKey = () => client.apiKey !== null;

/** Whether the server changes nothing, whatever a key may do. */
export const isReadOnly = () => Boolean(served.get().version?.read_only);

/** Whether the key of this tab may "read", "write" or "admin". Unknown counts as yes: the server decides. */
export function may(scope) {
  const { caller } = served.get();
  if (isReadOnly() && scope !== "read") return false;
  return caller?.scopes?.includes(scope) ?? true;
}

/** The name of the key of this tab, as verdicts have it in `by`. */
export const callerName = () => served.get().caller?.key ?? "anyone";

export const isAbort = (error) => error?.kind === "aborted";
/** The server loads a model or an index, is at its limit or away: asking again will help. */
export const isPassing = ({ status, kind }) => status === 503 || status === 429 || kind === "unreachable";

/** The address of a picture for an <img>, or null where a key must be sent with the request: see `pictureInMemory`. */
export function pictureAddress(collection, id, original, size) {
  if (hasKey()) return null;
  return original ? client.originalUrl(collection, id) : client.thumbnailUrl(collection, id, { size });
}

/** Resolves to `{url, release}`: an address in memory, which `release` gives back. */
export async function pictureInMemory(collection, id, { original, size }, signal) {
  const blob = await (original
    ? client.original(collection, id, { signal })
    : client.thumbnail(collection, id, { size, signal }));
  const url = URL.createObjectURL(blob);
  return { url, release: () => URL.revokeObjectURL(url) };
}

/** Read what the header and all views need. */
export async function readServed() {
  const answers = [client.version(), client.rolloutStatus(), client.collections()];
  const [version, models, collections] = await Promise.all(answers);
  served.set({ state: "ready", version, models, collections, caller: version.caller ?? null });
}

export const readCollections = async () => served.set({ collections: await client.collections() });
export const readModels = async () => served.set({ models: await client.rolloutStatus() });

/** Read the model again if an answer names another one than the header: the server has moved to another version. */
export function noteModel({ name, version }) {
  const shown = served.get().version?.model;
  if (shown && (shown.name !== name || shown.version !== version)) readServed().catch(() => {});
}

/** Tell the frame of the page that the server is away; returns the error. */
export function noteAway(error) {
  if (error instanceof DiptychError && error.kind === "unreachable") served.set({ state: "away" });
  return error;
}
