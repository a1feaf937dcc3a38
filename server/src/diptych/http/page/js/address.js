/** The query and the collection in the address of the page. They are in the #fragment, which browsers never send, so that
 *  back, forward and bookmarks work and no log sees a query. */

const decode = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

/** `{kind: "browse"} | {kind: "text", text} | {kind: "id", id} | {kind: "upload"}` */
export function queryOfAddress() {
  const { q, id, upload } = decode();
  if (q?.trim()) return { kind: "text", text: q.trim() };
  if (id) return { kind: "id", id };
  return { kind: upload ? "upload" : "browse" };
}

/** The collection in the address, or null. */
export const collectionOfAddress = () => decode().collection || null;

/** Go to a query, in the same collection unless one is given. Fires "hashchange", also when
 *  the address stays the same. */
export function goTo(parameters) {
  const { collection } = decode();
  const hash = new URLSearchParams({ ...(collection && { collection }), ...parameters }).toString();
  if (location.hash.slice(1) === hash) window.dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = hash;
}
