/** A grid that draws only the tiles in sight, so that ten thousand pictures cost as much as fifty. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";

const GAP_PX = 10;
const CAPTION_PX = 26;
const LINE_PX = 44;
const OVERSCAN_ROWS = 1;

/** Narrowest tile for a window of this width: few large ones on a wide screen, three in a row on a phone. */
const leastTile = (width) => (width < 560 ? 100 : width < 1100 ? 128 : width < 1800 ? 150 : 210);

/**
 * Where tiles are: `n` of them in rows, and a line of text in front of tile `line` (null: none). Tiles are `scale`
 * times as large as usual. Positions are in pixels from the top left of the grid.
 */
export function layoutOf(width, n, line, scale = 1) {
  const columns = Math.max(scale > 1 ? 1 : 2, Math.floor((width + GAP_PX) / (scale * leastTile(width) + GAP_PX)));
  const side = (width - GAP_PX * (columns - 1)) / columns;
  const row = side + CAPTION_PX + GAP_PX;
  const before = line ?? n;
  const rowsBefore = Math.ceil(before / columns);
  const lineTop = rowsBefore * row;
  const below = line === null ? 0 : LINE_PX;
  const rows = rowsBefore + Math.ceil((n - before) / columns);
  return {
    columns, side, lineTop,
    height: rows * row + below,
    position(i) {
      const first = i < before;
      const at = first ? i : i - before;
      const y = (first ? 0 : lineTop + below) + Math.floor(at / columns) * row;
      return { x: (at % columns) * (side + GAP_PX), y };
    },
    /** The tiles `[first, end)` of which a part lies between two heights. */
    between(top, bottom) {
      const indexAt = (y, roundUp) => {
        const inRow = (height) => (roundUp ? Math.ceil(height / row) : Math.floor(height / row)) * columns;
        if (y <= lineTop || line === null) return Math.min(before, Math.max(0, inRow(y)));
        return Math.min(n, before + Math.max(0, inRow(y - lineTop - below)));
      };
      return [indexAt(top, false), indexAt(bottom, true)];
    },
  };
}

/** What had the focus is no longer in the page. */
export const isFocusLost = () => document.activeElement === document.body;

/**
 * `n` tiles, of which `tile(i, props, side)` draws one of this width (`props` place it). `need(end)` is called with the
 * number of tiles that are in sight or soon will be. `line`, `lineText` and `scale`: see `layoutOf`. `focusAt` is
 * `{index}` of the tile that gets the focus if nothing has it, such as after the tile that had it was deleted; then
 * `onFocused` is called.
 */
export function Grid({
  n, tile, need, label, line = null, lineText = "", scale = 1, busy = false, focusAt = null, onFocused,
}) {
  const list = useRef(null);
  const [width, setWidth] = useState(0);
  const [[first, end], setRange] = useState([0, 0]);
  const [current, setCurrent] = useState(0);
  const focusNext = useRef(null);
  const layout = layoutOf(width || 1, n, line, scale);
  const latest = useRef(null);
  latest.current = { layout, need, n };

  const look = () => {
    const box = list.current?.getBoundingClientRect();
    if (!box?.width) return;
    setWidth(box.width);
    const { columns, side } = latest.current.layout;
    const margin = OVERSCAN_ROWS * (side + CAPTION_PX + GAP_PX);
    const range = latest.current.layout.between(-box.top - margin, innerHeight - box.top + margin);
    setRange((before) => (before[0] === range[0] && before[1] === range[1] ? before : range));
    latest.current.need(range[1] + columns);
  };
  useEffect(() => {
    let frame = 0;
    const soon = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(look);
    };
    const observer = new ResizeObserver(soon);
    observer.observe(list.current);
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
      removeEventListener("scroll", soon);
      removeEventListener("resize", soon);
    };
  }, []);
  useLayoutEffect(look, [n, line, width, scale]);
  /** The tile is drawn already, or will be once the page has scrolled to it. */
  const giveFocus = () => {
    if (focusNext.current === null) return;
    const isElsewhere = !isFocusLost() && !list.current.contains(document.activeElement);
    const next = list.current.querySelector(`[data-index="${focusNext.current}"] a`);
    if (next && !isElsewhere) next.focus({ preventScroll: true });
    if (next || isElsewhere) focusNext.current = null;
  };
  useLayoutEffect(giveFocus);

  /** Arrow keys move through all tiles, drawn or not. */
  const onKeyDown = (event) => {
    const { columns } = layout;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -n, End: n };
    const step = steps[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moveTo(current + step);
  };
  const moveTo = (index) => {
    const next = Math.min(n - 1, Math.max(0, index));
    const { y } = layout.position(next);
    const top = list.current.getBoundingClientRect().top + scrollY + y;
    const height = layout.side + CAPTION_PX;
    const above = document.querySelector(".sticky")?.offsetHeight ?? 0;
    if (top - above < scrollY) scrollTo({ top: top - above - GAP_PX });
    else if (top + height > scrollY + innerHeight) scrollTo({ top: top + height - innerHeight + GAP_PX });
    setCurrent(next);
    focusNext.current = next;
    look();
    giveFocus();
  };
  useEffect(() => {
    if (!focusAt || !width) return;
    if (isFocusLost()) moveTo(focusAt.index);
    onFocused();
  }, [focusAt, width]);
  const onFocus = ({ target }) => {
    const index = target.closest("[data-index]")?.dataset.index;
    if (index !== undefined) setCurrent(Number(index));
  };

  const inSight = [];
  const stop = Math.min(end, n);
  const tabbable = current >= first && current < stop ? current : first;
  for (let i = Math.min(first, stop); i < stop; i += 1) {
    const { x, y } = layout.position(i);
    const { side } = layout;
    const style = { transform: `translate(${x}px, ${y}px)`, width: `${side}px`, height: `${side + CAPTION_PX}px` };
    inSight.push(tile(i, { "data-index": i, style, tabindex: i === tabbable ? 0 : -1 }, side));
  }
  return html`
    <ul class="grid" ref=${list} aria-label=${label} aria-busy=${busy} style=${{ height: `${layout.height}px` }}
        onKeyDown=${onKeyDown} onFocusIn=${onFocus}>
      ${inSight}
      ${line !== null && html`
        <li class="grid-line" style=${{ transform: `translateY(${layout.lineTop}px)`, height: `${LINE_PX}px` }}>
          ${lineText}
        </li>`}
    </ul>`;
}
