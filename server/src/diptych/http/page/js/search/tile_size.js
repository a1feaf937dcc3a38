/** How large the tiles of the search view are: a slider whose choice this browser remembers. */

import { html } from "../html.js";
import { createStore, useStore } from "../store.js";

const KEY = "diptych.tile_size";
const SCALES = [0.6, 0.8, 1, 1.5, 2.2];
const USUAL = SCALES.indexOf(1);

function remembered() {
  const step = Number(localStorage.getItem(KEY) ?? USUAL);
  return step in SCALES ? step : USUAL;
}

const chosen = createStore({ step: remembered() });

export const useTileScale = () => SCALES[useStore(chosen).step];

export function TileSize() {
  const { step } = useStore(chosen);
  const choose = ({ target }) => {
    localStorage.setItem(KEY, target.value);
    chosen.set({ step: Number(target.value) });
  };
  return html`
    <label class="tile-size" title="Size of the pictures">
      <span class="unseen">Size of the pictures</span>
      <input type="range" min="0" max=${SCALES.length - 1} step="1" value=${step} onInput=${choose}/>
    </label>`;
}
