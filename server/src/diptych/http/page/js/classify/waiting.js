/** Pictures that other views hand over to the classify view. */

import { addressOf, goTo } from "../address.js";

let waiting = [];

/** Open the classify view with a picture of a collection: `{collection, id, name}`. */
export function classifyLater(picture) {
  waiting.push(picture);
  goTo(addressOf("classify"));
}

/** The pictures handed over since the last call. */
export function takeWaiting() {
  const taken = waiting;
  waiting = [];
  return taken;
}
