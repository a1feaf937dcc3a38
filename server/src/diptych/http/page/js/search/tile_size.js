/** How pictures are laid out in the search view: a slider for their size, and squares or rows. Remembered. */

import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { useKeys } from "../parts/keys.js";
import { ratioOf, seen } from "../parts/thumbnail.js";
import { createStore, useStore } from "../store.js";

const SIZE_KEY = "diptych.tile_size";
const ROWS_KEY = "diptych.rows";
const SCALES = [0.6, 0.8, 1, 1.5, 2.2];
const USUAL = SCALES.indexOf(1);
const UNSEEN = 4 / 3;

function remembered() {
  const step = Number(localStorage.getItem(SIZE_KEY) ?? USUAL);
  return { step: step in SCALES ? step : USUAL, rows: localStorage.getItem(ROWS_KEY) === "true" };
}

const chosen = createStore(remembered());

/** `{scale, ratioOf}` of the pictures `items`, as `Grid` takes them. */
export function useTileShape(items) {
  const { step, rows } = useStore(chosen);
  const [n, setN] = useState(0);
  useEffect(() => {
    if (!rows) return undefined;
    let frame = 0;  // many pictures are seen in one frame
    const stop = seen.subscribe(() => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => setN(seen.get().n));
    });
    return () => {
      stop();
      cancelAnimationFrame(frame);
    };
  }, [rows]);
  const ratio = useMemo(() => (rows ? (i) => shapeOf(items[i]) : null), [rows, items, n]);
  return { scale: SCALES[step], ratioOf: ratio };
}

/** What a picture says of itself holds until it is seen: it may be turned by its EXIF. */
const shapeOf = (item) =>
  (item ? ratioOf(item.collection, item.id) ?? (item.width > 0 ? item.width / item.height : UNSEEN) : UNSEEN);

export function TileSize() {
  const { step, rows } = useStore(chosen);
  const choose = (next) => {
    if (!(next in SCALES)) return;
    localStorage.setItem(SIZE_KEY, next);
    chosen.set({ step: next });
  };
  const view = useRef(document.getElementById("main"));
  useKeys(view, ({ key }) => {
    if (key === "+") choose(step + 1);
    if (key === "-") choose(step - 1);
  });
  const toggle = () => {
    localStorage.setItem(ROWS_KEY, !rows);
    chosen.set({ rows: !rows });
  };
  return html`
    <span class="tile-size">
      <label title="Size of the pictures (+ and -)">
        <span class="unseen">Size of the pictures</span>
        <input type="range" min="0" max=${SCALES.length - 1} step="1" value=${step}
          onInput=${({ target }) => choose(Number(target.value))}/>
      </label>
      <button type="button" class="icon" aria-label="Whole pictures in rows" title="Whole pictures in rows"
        aria-pressed=${String(rows)} onClick=${toggle}>
        <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
          <path d="M2 3h10v6H2zM14 3h4v6h-4zM2 11h5v6H2zM9 11h9v6H9z"/>
        </svg>
      </button>
    </span>`;
}
