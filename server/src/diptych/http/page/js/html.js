/**
 * Preact and htm: a component is a function that returns html`<tag>...</tag>`. Text is set as text, never as markup.
 */

import { h } from "../vendor/preact/preact.js";
import htm from "../vendor/htm/htm.js";

export { Fragment, render } from "../vendor/preact/preact.js";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact/hooks.js";
export const html = htm.bind(h);
