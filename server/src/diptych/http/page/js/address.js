/**
 * The view and what it shows, in the address: `#/search?collection=gallery&q=red`. All of it is in the #fragment, which
 * browsers never send, so that back, forward and bookmarks work and no log sees a query.
 */

import { useEffect, useState } from "./html.js";

const CHANGE = "diptych:address";

/** `{view, rest, params}`; an address of earlier releases, such as `#q=red`, is a search. */
export function readAddress() {
  const hash = location.hash.slice(1);
  const [path, query] = hash.startsWith("/") ? splitOnce(hash.slice(1), "?") : ["search", hash];
  const [view, ...rest] = path.split("/").map(decoded);
  return { view: view || "search", rest, params: new URLSearchParams(query) };
}

/** Text as typed where its escapes are none, such as "100%". */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function splitOnce(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

/** `#/view/rest?name=value`. Parameters that are null, undefined or empty are left out; a list is repeated. */
export function addressOf(path, params = {}) {
  const search = params instanceof URLSearchParams ? params : new URLSearchParams();
  if (!(params instanceof URLSearchParams)) {
    for (const [name, value] of Object.entries(params)) {
      for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") search.append(name, one);
    }
  }
  const query = search.toString();
  const parts = [path].flat().map(encodeURIComponent).join("/");
  return `#/${parts}${query && `?${query}`}`;
}

/** Go to an address of `addressOf`. `replace` writes no step into the history; `state` stays with a new one. */
export function goTo(address, { replace = false, state = null } = {}) {
  if (address === location.hash) return;
  if (replace) history.replaceState(history.state, "", address);
  else history.pushState(state, "", address);
  window.dispatchEvent(new Event(CHANGE));
}

/** Go to the current address with some parameters changed. */
export function changeParams(changes, options) {
  const { view, rest, params } = readAddress();
  for (const [name, value] of Object.entries(changes)) {
    params.delete(name);
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") params.append(name, one);
  }
  goTo(addressOf([view, ...rest], params), options);
}

/** The address of now; the component is drawn again when it changes. */
export function useAddress() {
  const [address, setAddress] = useState(readAddress);
  useEffect(() => {
    const read = () => setAddress(readAddress());
    window.addEventListener(CHANGE, read);
    window.addEventListener("hashchange", read);
    window.addEventListener("popstate", read);
    return () => {
      window.removeEventListener(CHANGE, read);
      window.removeEventListener("hashchange", read);
      window.removeEventListener("popstate", read);
    };
  }, []);
  return address;
}
