/** A picture of a column, large, whose label can be changed. */

import { addressOf, goTo } from "../address.js";
import { percent } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { useKeys } from "../parts/keys.js";
import { callerName, may } from "../server.js";
import { deleteWithUndo } from "../search/deleting.js";
import { PictureDialog } from "../search/picture.js";
import { paramsOfParts } from "../search/query.js";
import { useStore } from "../store.js";
import { answers, give, takeBack } from "./answers.js";
import { Choices } from "./choices.js";
import { readLabelled, textOf } from "./stored.js";

/** `items` are the pictures of the column. */
export function LabelledDialog({ place, set, item, items, onNew, onClose }) {
  const [id, setId] = useState(item.id);
  const [said, setSaid] = useState([]);  // answers, the newest last
  const [read, setRead] = useState(null);  // the picture as it is labelled now
  const { touched } = useStore(answers);
  useEffect(() => {
    const controller = new AbortController();
    readLabelled(place, id, controller.signal).then(setRead, () => {});
    return () => controller.abort();
  }, [id, touched]);
  const known = read?.id === id ? read : items.find((one) => one.id === id);
  const shown = known ?? { id, labels: [], proposed: [], verdict: null };
  const last = said.findLast(({ items: [one] }) => one.id === id);
  const labels = last?.labels ?? shown.labels;
  const say = (next) => {
    if (last?.labels.join("\n") === next.join("\n")) return;
    const verdict = last ? { labels: last.labels, by: callerName() } : shown.verdict;
    setSaid([...said, give(place, [{ ...shown, labels, verdict }], next)]);
  };
  const undo = () => {
    if (!last) return;
    takeBack(place, last);
    setSaid(said.filter((one) => one !== last));
  };
  const find = (parts) => goTo(addressOf("search", { collection: place.collection, ...paramsOfParts(parts) }));
  return html`
    <${PictureDialog} collection=${place.collection} id=${id} items=${items} isSearch=${false} parts=${[]}
      filter=${null} open=${setId} onParts=${find} onChanged=${() => {}}
      remove=${(some) => deleteWithUndo(place.collection, some)}
      onClose=${onClose}>
      <${Labels} key=${id} item=${shown} labels=${labels} isSaid=${Boolean(last)} set=${set} say=${say} undo=${undo}
        onNew=${onNew}/>
    <//>`;
}

function Labels({ item, labels, isSaid, set, say, undo, onNew }) {
  const section = useRef(null);
  const names = set.labels.map(({ label }) => label);
  useKeys(section, (event) => {
    if (event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    if (!event.repeat) undo();
  });
  const choose = (label) => {
    if (label === null || set.kind === "one") say(label === null ? [] : [label]);
    else say(labels.includes(label) ? labels.filter((one) => one !== label) : [...labels, label]);
  };
  const text = labels.join(", ") || "None of these";
  const model = `${item.proposed.join(", ") || "none"}, ${percent(item.score)}`;
  const leaving = (work) => () => {  // the button goes, and the keys of the dialog go on
    work();
    section.current.focus({ preventScroll: true });
  };
  const before = item.verdict?.before;
  const former = before ? `, in place of ${textOf(before)} by ${before.by}` : "";
  const word = isSaid ? `your word${former}` : item.verdict && `the word of ${item.verdict.by}${former}`;
  const by = item.score === undefined ? word : word ? `${word}; the model proposes ${model}` : "proposed by the model";
  return html`
    <section ref=${section} class="labelled-choices" tabindex="-1">
      <p role="status"><strong>${text}</strong> <span class="status">${by}</span></p>
      ${may("write") && html`
        ${before && item.verdict.by !== callerName() && html`
          <p><button type="button" class="quiet small" onClick=${leaving(() => say(labels))}>Agree</button></p>`}
        <${Choices} labels=${names} chosen=${labels} onChoose=${choose} onNew=${onNew} scope=${section}/>
        ${isSaid && html`<p><button type="button" class="quiet small" onClick=${leaving(undo)}>Undo</button></p>`}`}
    </section>`;
}
