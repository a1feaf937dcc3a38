/** Keys that work without a field that has the focus. */

import { useLayoutEffect, useRef } from "../html.js";

const TYPED_INTO = "input:not([type=radio], [type=checkbox]), textarea, select, pre";

/**
 * `onKey(event)` is called for keys that are pressed inside the element of `ref`, or while nothing has the focus. Text
 * fields keep their keys, a button keeps Space and Enter, and an open dialog keeps all keys from what is behind it.
 */
export function useKeys(ref, onKey) {
  const latest = useRef(onKey);
  latest.current = onKey;
  useLayoutEffect(() => {  // a key may follow at once
    const listen = (event) => { if (isFor(ref.current, event)) latest.current(event); };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
}

function isFor(element, { target, key, defaultPrevented, altKey }) {
  if (!element || defaultPrevented || altKey || target.closest(TYPED_INTO)) return false;
  const dialog = document.querySelector("dialog[open]");
  if (dialog) return dialog.contains(element) && !isButtons(key, target);
  if (isButtons(key, target)) return false;
  return element.contains(target) || target === document.body || target.id === "main";
}

const isButtons = (key, target) => (key === " " || key === "Enter") && target.closest("button, a, summary, label");
