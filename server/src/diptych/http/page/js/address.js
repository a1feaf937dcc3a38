/** The query as a part of the page's address. It stands in the #fragment, which browsers never send, so that
 *  back, forward and bookmarks work and no log sees a query. */

const decode = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

/** `{kind: "browse"} | {kind: "text", text} | {kind: "id", id} | {kind: "upload"}` */
export function queryOfAddress() {
  const { q, id, upload } = decode();
  if (q?.trim()) return { kind: "text", text: q.trim() };
  if (id) return { kind: "id", id };
  return { kind: upload ? "upload" : "browse" };
}

/** Move to a query; the "hashchange" event tells the page, which is also told when the address stays the same. */
export function goTo(parameters) {
  const hash = new URLSearchParams(parameters).toString();
  if (location.hash.slice(1) === hash) window.dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = hash;
}
