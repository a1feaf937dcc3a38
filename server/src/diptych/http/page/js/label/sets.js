/** A form that defines a label set, or changes one. */

import { plural } from "../format.js";
import { html, useState } from "../html.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Problem } from "../parts/problem.js";
import { toast } from "../parts/toasts.js";
import { client } from "../server.js";
import { NAME } from "../collections/state.js";
import { forget } from "./answers.js";

const CONFLICT = 409;
const EXAMPLE = "cat | kitten\ndog | puppy\nrocket | spaceship\nflower";

/** "cat | kitten" as a label with further words. */
export function labelsOf(text) {
  const lines = text.split(/\r?\n/).map((line) => line.split("|").map((part) => part.trim()).filter(Boolean));
  return lines.filter((parts) => parts.length).map(([label, ...words]) => ({ label, words }));
}

const linesOf = (labels) => labels.map(({ label, words }) => [label, ...words].join(" | ")).join("\n");

/** Store a definition, and name the labels that the model hardly separates. */
export async function putSet(collection, name, { labels, kind, templates, min_score: minScore, precision }, drops) {
  const wanted = precision ? { precision } : { minScore: minScore ?? undefined };
  const found = await client.putLabelSet(collection, name, labels, { kind, templates, ...wanted, dropVerdicts: drops });
  for (const { labels: [one, other], cosine } of found.alike.slice(0, 2)) {
    const how = `cosine ${cosine.toFixed(2)}`;
    toast(`The model hardly tells “${one}” and “${other}” apart (${how}): other words may help`);
  }
  if (found.n_dropped) {
    forget({ collection, set: name });
    toast(`${plural(found.n_dropped, "verdict")} deleted`);
  }
  return found;
}

/** `set` is null for a new one; `names` are taken. `onDone` receives the name, or null after the set was deleted. */
export function SetDialog({ collection, set, names, onDone, onClose }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [isDeleting, setDeleting] = useState(false);
  const [definition, setDefinition] = useState(null);  // that a conflict is about
  const run = async (work) => {
    setBusy(true);
    setProblem(null);
    await work().catch((error) => {
      setProblem(error);
      setBusy(false);
    });
  };
  const put = (name, next, drops) => run(async () => {
    setDefinition(next);
    await putSet(collection, name, next, drops);
    onDone(name);
  });
  const checkName = ({ target }) => target.setCustomValidity(names.includes(target.value) ? "The name is taken" : "");
  const submit = (event) => {
    event.preventDefault();
    const { name, labels, kind, precision } = Object.fromEntries(new FormData(event.target));
    const percents = precision === "" ? null : Number(precision);
    put(set?.name ?? name, { ...set, labels: labelsOf(labels), kind, precision: percents && percents / 100 });
  };
  const remove = () => run(async () => {
    setDeleting(false);
    await client.dropLabelSet(collection, set.name);
    onDone(null);
  });
  const isConflict = problem?.status === CONFLICT && definition && set;
  if (isDeleting) {
    return html`
      <${Confirm} title="Delete “${set.name}”?" action="Delete it" onConfirm=${remove}
        onClose=${() => setDeleting(false)}>
        <p>The set and all that was said of its pictures are deleted. This cannot be undone.</p>
      <//>`;
  }
  return html`
    <${Dialog} title=${set ? `Labels of “${set.name}”` : "A new label set"} onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        ${!set && html`
          <label>
            Name <input name="name" required pattern=${NAME} value=${names.length ? "" : "kind"} autocomplete="off"
              title="Small letters, digits, and . _ -"
              onInput=${checkName}/>
          </label>`}
        <label>
          <span>Labels, one a line; further words for the same thing behind |</span>
          <textarea name="labels" rows="8" required placeholder=${EXAMPLE} spellcheck=${false}
            defaultValue=${set ? linesOf(set.labels) : ""}></textarea>
        </label>
        <div role="radiogroup" aria-label="How many labels has a picture?" class="kinds">
          <label class="check">
            <input type="radio" name="kind" value="one" checked=${set?.kind !== "many"}/>
            <span>One label a picture</span>
          </label>
          <label class="check">
            <input type="radio" name="kind" value="many" checked=${set?.kind === "many"}/>
            <span>Many, or none</span>
          </label>
        </div>
        <label>
          <span>Wanted precision in percent, if any: pictures that are less certain have no label</span>
          <input name="precision" type="number" min="50" max="99.9" step="0.1" placeholder="none"
            value=${set?.precision ? Number((set.precision * 100).toFixed(1)) : ""}/>
        </label>
        ${isConflict
          ? html`
            <div class="problem" role="alert">
              <strong>Some verdicts do not fit</strong>
              <p>${problem.detail}</p>
              <button type="button" class="quiet danger" disabled=${busy}
                onClick=${() => put(set.name, definition, true)}>
                Change the set, and drop them
              </button>
            </div>`
          : html`<${Problem} problem=${problem}/>`}
        <p class="row end">
          ${set && html`
            <button type="button" class="quiet danger" disabled=${busy} onClick=${() => setDeleting(true)}>
              Delete the set
            </button><span class="spring"></span>`}
          <button type="submit" class="strong" disabled=${busy}>${set ? "Change" : "Sort the pictures"}</button>
        </p>
      </form>
    <//>`;
}
