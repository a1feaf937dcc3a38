/** One picture of the grid. A click opens it; while pictures are being selected, a click selects it. */

import { creditOf, fieldsWithWords, nameOf, percent, wordsIn } from "../format.js";
import { addressOf, readAddress } from "../address.js";
import { html } from "../html.js";
import { Mounted } from "../parts/thumbnail.js";

const THUMBNAILS_PX = [256, 512];  // larger ones the server offers, but no tile needs
const TAIL = 8;  // last characters of a name, which tell files from each other: a long one is cut before them
const SPARE = 1.2;  // of a photograph that fills its tile the shorter side counts

/** "82 %", or where relevance is unknown the cosine. */
const scoreOf = ({ relevance, cosine }) => {
  if (relevance !== null && relevance !== undefined) return percent(relevance);
  return cosine === undefined ? null : cosine.toFixed(2);
};

export function Tile({ item, place, side, poor, selection, open }) {
  if (!item) return html`<li class="tile waiting" ...${place} tabindex=${undefined}></li>`;
  const name = nameOf(item);
  const score = scoreOf(item);
  const words = wordsIn(item);
  const judged = item.relevance !== null && item.relevance !== undefined;
  const selected = selection.has(item.id);
  const onClick = (event) => {
    if (event.ctrlKey || event.metaKey || event.button) return;  // a new tab
    event.preventDefault();
    if (selection.active || event.shiftKey) selection.toggle(item, place["data-index"], event.shiftKey);
    else open(item.id);
  };
  const onKeyDown = (event) => {
    if (event.key !== " " || !selection.active) return;
    event.preventDefault();  // it would scroll; a check box is ticked with it
    onClick(event);
  };
  const { tabindex, ...at } = place;
  const classes = ["tile", poor && "poor", selected && "selected"].filter(Boolean).join(" ");
  const judgement = judged && `relevance ${score}, cosine ${item.cosine.toFixed(2)}`;
  const title = [name, creditOf(item), words && `the words are in ${words}`, judgement].filter(Boolean).join("\n");
  const scored = score && `${judged ? "relevance" : "cosine"} ${score}`;
  const byMeaning = !words || item.matched.includes("meaning");  // else its relevance says little
  return html`
    <li class=${classes} ...${at}>
      <a href=${pictureLink(item.id)} tabindex=${tabindex} title=${title} onClick=${onClick} onKeyDown=${onKeyDown}
         role=${selection.active ? "checkbox" : undefined}
         aria-checked=${selection.active ? String(selected) : undefined}
         aria-label=${[name, words && `words in ${words}`, scored].filter(Boolean).join(", ")}>
        <${Mounted} collection=${item.collection} id=${item.id} size=${thumbnailFor(side)}/>
        ${!poor && html`<${Match} fields=${fieldsWithWords(item)} score=${byMeaning ? score : null}/>`}
        ${!poor && judged && byMeaning && html`
          <span class="strength" style=${{ "--share": `${100 * item.relevance}%` }}></span>`}
        <span class="caption"><span>${name.slice(0, -TAIL)}</span><span>${name.slice(-TAIL)}</span></span>
      </a>
    </li>`;
}

const thumbnailFor = (side) =>
  THUMBNAILS_PX.find((size) => size >= SPARE * side * devicePixelRatio) ?? THUMBNAILS_PX.at(-1);

/** "place city +2 · 82 %": the first field that carries the words, how many others do, and the score. */
function Match({ fields: [first, ...others], score }) {
  if (!first && !score) return null;
  const more = others.length > 0 && ` +${others.length}`;
  return html`
    <span class="match">
      ${first && html`<span class="field">${first}</span>`}
      ${[more, first && score && " · ", score].filter(Boolean).join("")}
    </span>`;
}

/** The address of the view as it is, with this picture opened. */
function pictureLink(id) {
  const { view, rest, params } = readAddress();
  params.set("picture", id);
  return addressOf([view, ...rest], params);
}
