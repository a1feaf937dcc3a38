/** A picture of a column, large, whose label can be changed. */

import { addressOf, goTo } from "../address.js";
import { percent } from "../format.js";
import { html, useRef, useState } from "../html.js";
import { useKeys } from "../parts/keys.js";
import { may } from "../server.js";
import { deleteWithUndo } from "../search/deleting.js";
import { PictureDialog } from "../search/picture.js";
import { paramsOfParts } from "../search/query.js";
import { give, takeBack } from "./answers.js";
import { Choices } from "./choices.js";

/** `items` are the pictures of the column. */
export function LabelledDialog({ place, set, item, items, onNew, onClose }) {
  const [id, setId] = useState(item.id);
  const [said, setSaid] = useState(new Map());  // id -> {labels, answer}
  const shown = items.find((one) => one.id === id) ?? { id, labels: [], proposed: [], verdict: null };
  const labels = said.get(id)?.labels ?? shown.labels;
  const say = (next) => {
    const verdict = said.has(id) ? {} : shown.verdict;
    const answer = give(place, [{ ...shown, labels, verdict }], next);
    setSaid(new Map([...said, [id, { labels: next, answer }]]));
  };
  const undo = () => {
    const { answer } = said.get(id) ?? {};
    if (!answer) return;
    takeBack(place, answer);
    setSaid(new Map([...said].filter(([key]) => key !== id)));
  };
  const find = (parts) => goTo(addressOf("search", { collection: place.collection, ...paramsOfParts(parts) }));
  return html`
    <${PictureDialog} collection=${place.collection} id=${id} items=${items} isSearch=${false} parts=${[]}
      filter=${null} open=${setId} onParts=${find} onChanged=${() => {}}
      remove=${(some) => deleteWithUndo(place.collection, some)}
      onClose=${onClose}>
      <${Labels} key=${id} item=${shown} labels=${labels} isSaid=${said.has(id)} set=${set} say=${say} undo=${undo}
        onNew=${onNew}/>
    <//>`;
}

function Labels({ item, labels, isSaid, set, say, undo, onNew }) {
  const section = useRef(null);
  const names = set.labels.map(({ label }) => label);
  useKeys(section, (event) => {
    if (event.key !== "z") return;
    event.preventDefault();
    undo();
  });
  const choose = (label) => {
    if (label === null || set.kind === "one") say(label === null ? [] : [label]);
    else say(labels.includes(label) ? labels.filter((one) => one !== label) : [...labels, label]);
  };
  const text = labels.join(", ") || "None of these";
  const model = `${item.proposed.join(", ") || "none"}, ${percent(item.score)}`;
  const word = isSaid ? "your word" : item.verdict && `the word of ${item.verdict.by}`;
  const by = item.score === undefined ? word : word ? `${word}; the model proposes ${model}` : "proposed by the model";
  return html`
    <section ref=${section} class="labelled-choices">
      <p role="status"><strong>${text}</strong> <span class="status">${by}</span></p>
      ${may("write") && html`
        <${Choices} labels=${names} chosen=${labels} onChoose=${choose} onNew=${onNew} scope=${section}/>
        ${isSaid && html`<p><button type="button" class="quiet small" onClick=${undo}>Undo</button></p>`}`}
    </section>`;
}
