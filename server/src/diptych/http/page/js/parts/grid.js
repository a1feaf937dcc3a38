/** A grid that draws only the tiles in sight, so that ten thousand pictures cost as much as fifty. */

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../html.js";
import { CAPTION_PX, GAP_PX, headingPx, layoutOf } from "./layout.js";

const OVERSCAN_ROWS = 1;
const MAX_MARKS = 12;

/** What had the focus is no longer in the page. */
export const isFocusLost = () => document.activeElement === document.body;

/** The height of what covers the top of the page. */
const coveredPx = () => document.querySelector(".sticky")?.offsetHeight ?? 0;

/** A tile of the row at or just below `top`, how much of it is above, and its height: `before`'s if it is there. */
function anchorOf(layout, top, heading, before) {
  const [first, end] = layout.between(top + heading, top + heading);
  const index = before?.index >= first && before.index < end ? before.index : first;
  const { y, height } = layout.box(index);
  return { index, above: top - y, height };
}

/**
 * `n` tiles, of which `tile(i, props, side)` draws one of this longer side (`props` place it). `need(end)` is called
 * with the number of tiles that are in sight or soon will be. `sections`, `scale` and `ratioOf`: see `layoutOf`; what
 * they are made of may change while the first picture in sight stays where it is. With `scrubs`, a slider goes to the
 * sections. `focusAt` is `{index}` of the tile that gets the focus if nothing has it, such as after another one was
 * deleted; then `onFocused` is called. Arrow keys with Shift call `extend(from, to)`.
 */
export function Grid({
  n, tile, need, label, sections, scale = 1, ratioOf = null, scrubs = false, busy = false, focusAt = null, onFocused,
  extend,
}) {
  const list = useRef(null);
  const [width, setWidth] = useState(0);
  const [[first, end], setRange] = useState([0, 0]);
  const [current, setCurrent] = useState(0);
  const [section, setSection] = useState(0);
  const focusNext = useRef(null);
  const chosen = useRef(0);  // section of the slider; the last ones may be too short to come to the top
  const anchor = useRef(null);
  const layout = useMemo(
    () => layoutOf({ width, n: width && n, sections, scale, ratioOf }), [width, n, sections, scale, ratioOf]);
  const latest = useRef(null);
  latest.current = { layout, need, n, scrubs };

  const look = () => {
    const box = list.current?.getBoundingClientRect();
    if (!box?.width) return;
    setWidth(box.width);
    const { layout: now, scrubs: hasSlider } = latest.current;
    const margin = OVERSCAN_ROWS * (now.side + CAPTION_PX + GAP_PX);
    const range = now.between(-box.top - margin, innerHeight - box.top + margin);
    setRange((before) => (before[0] === range[0] && before[1] === range[1] ? before : range));
    latest.current.need(range[1] + now.columns);
    const covered = coveredPx();
    const heading = headingPx(box.width) + GAP_PX;
    anchor.current = now.height && box.top < covered ? anchorOf(now, covered - box.top, heading, anchor.current) : null;
    if (!hasSlider) return;
    const atEnd = scrollY + innerHeight >= document.documentElement.scrollHeight - 1;
    const found = now.sectionAt(covered + heading - box.top);
    setSection(atEnd ? Math.max(found, chosen.current) : found);
  };
  /** Another layout moves no picture that one looks at. */
  const hold = () => {
    if (!anchor.current || !layout.height || anchor.current.index >= n) return;
    const { index, above, height: before } = anchor.current;
    const { y, height } = layout.box(index);
    const hidden = above > 0 ? (above * height) / before : above;
    const moved = list.current.getBoundingClientRect().top + y + hidden - coveredPx();
    if (Math.abs(moved) >= 1) scrollBy({ top: moved, behavior: "instant" });
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
  useLayoutEffect(() => {
    hold();
    look();
  }, [layout]);
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
    const steps = {
      ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: n - 1,
      ArrowDown: layout.nextRow(current, 1), ArrowUp: layout.nextRow(current, -1),
    };
    const next = steps[event.key];
    if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (event.shiftKey) extend(current, Math.min(n - 1, Math.max(0, next)));
    moveTo(next);
  };
  const moveTo = (index) => {
    const next = Math.min(n - 1, Math.max(0, index));
    const box = layout.box(next);
    const top = list.current.getBoundingClientRect().top + scrollY + box.y;
    const height = box.height + CAPTION_PX;
    const above = coveredPx();
    if (top - above < scrollY) scrollTo({ top: top - above - GAP_PX });
    else if (top + height > scrollY + innerHeight) scrollTo({ top: top + height - innerHeight + GAP_PX });
    setCurrent(next);
    focusNext.current = next;
    look();
    giveFocus();
  };
  const goToSection = (index) => {
    chosen.current = index;
    setSection(index);
    const { top } = list.current.getBoundingClientRect();
    scrollTo({ top: scrollY + top + layout.headings[index].top - coveredPx(), behavior: "instant" });
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
    const { x, y, width: wide, height } = layout.box(i);
    const style = {
      transform: `translate(${x}px, ${y}px)`, width: `${wide}px`, height: `${height + CAPTION_PX}px`,
      "--ratio": wide / height,
    };
    const place = { "data-index": i, style, tabindex: i === tabbable ? 0 : -1 };
    inSight.push(tile(i, place, Math.max(wide, height)));
  }
  const { headings } = layout;
  const shownHeadings = headings.filter(({ at }, i) => at <= stop && (headings[i + 1]?.at ?? n) >= first);
  const hasSlider = scrubs && headings.length > 1;
  return html`
    <ul class=${hasSlider ? "grid scrubbed" : "grid"} ref=${list} aria-label=${label} aria-busy=${busy}
        style=${{ height: `${layout.height}px` }} onKeyDown=${onKeyDown} onFocusIn=${onFocus}>
      ${inSight}
      ${shownHeadings.map(({ at, text, top }) => html`
        <li class="grid-line" key=${`line ${at}`}
            style=${{ transform: `translateY(${top}px)`, height: `${headingPx(width)}px` }}>
          ${text}
        </li>`)}
    </ul>
    ${hasSlider && html`
      <${Scrubber} sections=${sections} at=${Math.min(section, sections.length - 1)} go=${goToSection}/>`}`;
}

/** A slider at the side, which names the sections, such as months, and goes to them. Those with a `mark` show it. */
function Scrubber({ sections, at, go }) {
  const last = sections.length - 1;
  const marks = sections.map(({ mark }, i) => ({ mark, i })).filter(({ mark }) => mark);
  const each = Math.ceil(marks.length / MAX_MARKS);
  const place = (i) => ({ top: `${(100 * i) / last}%` });
  return html`
    <div class="scrubber">
      ${marks.filter((_, n) => n % each === 0).map(({ mark, i }) => html`
        <span key=${i} aria-hidden="true" style=${place(i)}>${mark}</span>`)}
      <input type="range" aria-label="Go to" aria-orientation="vertical" aria-valuetext=${sections[at].text}
        min="0" max=${last} step="1" value=${at} onInput=${({ target }) => go(Number(target.value))}/>
      <strong aria-hidden="true" style=${place(at)}>${sections[at].text}</strong>
    </div>`;
}
