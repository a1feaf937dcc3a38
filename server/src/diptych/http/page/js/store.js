/** State that several views share, and components that are drawn again when it changes. */

import { useEffect, useState } from "./html.js";

/** A value with listeners. */
export function createStore(value) {
  const listeners = new Set();
  return {
    get: () => value,
    /** Change some fields. */
    set(changes) {
      value = { ...value, ...changes };
      for (const listener of listeners) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useStore(store) {
  const [value, setValue] = useState(store.get);
  useEffect(() => {
    const read = () => setValue(store.get());
    read();  // it may have changed between drawing and now
    return store.subscribe(read);
  }, [store]);
  return value;
}
