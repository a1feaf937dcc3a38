/** Where the tiles of a grid are: in rows of squares, or of pictures in their own proportions. */

export const GAP_PX = 10;
export const CAPTION_PX = 26;
const NARROWEST = 0.4;  // width by height
const WIDEST = 3;

/** Narrowest tile for a window of this width: few large ones on a wide screen, three in a row on a phone. */
const leastTile = (width) => (width < 560 ? 100 : width < 1100 ? 128 : width < 1800 ? 150 : 210);

export const headingPx = (width) => (width < 560 ? 30 : 44);

/** The last index whose value is at most `limit`; `valueOf(i)` ascends. 0 where none is. */
function lastUpTo(limit, n, valueOf) {
  let [low, high] = [0, n];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (valueOf(middle) <= limit) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * The layout of `n` tiles, `scale` times as large as usual: squares, or with `ratioOf(i)`, width by height, rows that
 * fill the width. `sections` are `{at, text}`: headings in front of tiles `at`. Positions are in pixels.
 */
export function layoutOf({ width, n, sections, scale, ratioOf }) {
  const columns = Math.max(scale > 1 ? 1 : 2, Math.floor((width + GAP_PX) / (scale * leastTile(width) + GAP_PX)));
  const side = (width - GAP_PX * (columns - 1)) / columns;
  const ratio = ratioOf ? (i) => Math.min(WIDEST, Math.max(NARROWEST, ratioOf(i))) : () => 1;
  const rows = [];  // {first, end, top, height}
  const headings = [];
  let top = 0;
  const addRow = (first, end, height) => {
    rows.push({ first, end, top, height });
    top += height + CAPTION_PX + GAP_PX;
  };
  const addSquares = (first, end) => {
    for (let i = first; i < end; i += columns) addRow(i, Math.min(end, i + columns), side);
  };
  const addFilled = (begin, end) => {
    let [first, sum] = [begin, 0];
    for (let i = begin; i < end; i += 1) {
      sum += ratio(i);
      const height = (width - GAP_PX * (i - first)) / sum;
      if (height > side && i < end - 1) continue;
      addRow(first, i + 1, Math.min(height, side));
      [first, sum] = [i + 1, 0];
    }
  };
  const within = sections.filter(({ at }) => at < n);
  const add = (first, end) => (ratioOf ? addFilled : addSquares)(first, end);
  add(0, within[0]?.at ?? n);
  for (const [i, { at, text }] of within.entries()) {
    headings.push({ at, text, top });
    top += headingPx(width);
    add(at, within[i + 1]?.at ?? n);
  }
  const rowAt = (y) => lastUpTo(y, rows.length, (i) => rows[i].top);
  const rowOf = (i) => lastUpTo(i, rows.length, (row) => rows[row].first);
  const boxIn = ({ first, top: y, height }, i) => {
    let x = 0;
    for (let j = first; j < i; j += 1) x += height * ratio(j) + GAP_PX;
    return { x, y, width: height * ratio(i), height };
  };
  return {
    headings,
    columns,
    height: top,
    side,
    box: (i) => boxIn(rows[rowOf(i)], i),
    /** The section that a height is in; 0 above the first one. */
    sectionAt: (y) => lastUpTo(y, headings.length, (i) => headings[i].top),
    /** The tiles `[first, end)` of which a part lies between two heights. */
    between(from, to) {
      if (!rows.length || to < 0) return [0, 0];
      return [rows[rowAt(from)].first, rows[rowAt(to)].end];
    },
    /** The tile in the row above (-1) or below (1) that is nearest to tile `i`. */
    nextRow(i, by) {
      const row = rowOf(i);
      const other = rows[row + by];
      if (!other) return i;
      const middle = (box) => box.x + box.width / 2;
      const wanted = middle(boxIn(rows[row], i));
      let best = other.first;
      for (let j = best; j < other.end; j += 1) {
        if (Math.abs(middle(boxIn(other, j)) - wanted) < Math.abs(middle(boxIn(other, best)) - wanted)) best = j;
      }
      return best;
    },
  };
}
