/** A form that defines a label set, or changes one. */

import { NAME } from "../collections/chosen.js";
import { plural } from "../format.js";
import { html, useRef, useState } from "../html.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Problem } from "../parts/feedback.js";
import { toast } from "../parts/toasts.js";
import { client } from "../server.js";
import { forget } from "./answers.js";

const CONFLICT = 409;
const EXAMPLE = "cat | kitten\ndog | puppy\nrocket | spaceship\nflower";

/** "cat | kitten" as a label with further words. */
export function labelsOf(text) {
  const lines = text.split(/\r?\n/).map((line) => line.split("|").map((part) => part.trim()).filter(Boolean));
  return lines.filter((parts) => parts.length).map(([label, ...words]) => ({ label, words }));
}

/** One text stands twice, as the server compares them; or null. */
export function problemOf(labels) {
  const known = new Map();
  for (const { label, words } of labels) {
    for (const text of [label, ...words]) {
      const key = text.normalize("NFC").toLowerCase();
      if (known.has(key)) {
        const other = known.get(key) === text ? "" : `, as “${known.get(key)}”`;
        return { title: "A label stands twice", detail: `“${text}” stands twice${other}. Leave one out.` };
      }
      known.set(key, text);
    }
  }
  return null;
}

/** A set as it is now. */
export async function readSet(collection, name) {
  const found = (await client.labelSets(collection)).find((set) => set.name === name);
  if (!found) throw { title: "No such label set", detail: `The set “${name}” was deleted.` };
  return found;
}

/** "added dog, and removed cat" */
export function nameChanges(before, now) {
  const missing = (some, others) => some.labels.map(({ label }) => label)
    .filter((label) => !others.labels.some((one) => one.label === label)).join(", ");
  const [added, removed] = [missing(now, before), missing(before, now)];
  const changes = [added && `added ${added}`, removed && `removed ${removed}`].filter(Boolean);
  return changes.join(", and ") || "changed other words or settings";
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
  const [known, setKnown] = useState(set);  // as it was when it was last looked at
  const run = async (work) => {
    setBusy(true);
    setProblem(null);
    await work().catch((error) => {
      setProblem(error);
      setBusy(false);
    });
  };
  const agreed = useRef(null);  // what the person was told before they said that verdicts may be dropped
  const checkUnchanged = async () => {
    const now = await readSet(collection, set.name);
    if (now.revision === known.revision) return;
    setKnown(now);
    const title = "Somebody else changed the set meanwhile";
    throw { title, detail: `They ${nameChanges(known, now)}. “Change” replaces it by what is here.` };
  };
  const put = (name, next, agreement) => run(async () => {
    const twice = problemOf(next.labels);
    if (twice) throw twice;
    if (set) await checkUnchanged();
    await putSet(collection, name, next).catch((error) => {
      if (error.status !== CONFLICT || error.detail !== agreement) throw error;
      return putSet(collection, name, next, true);  // as many are dropped as the person agreed to
    });
    onDone(name);
  });
  const checkName = ({ target }) => target.setCustomValidity(names.includes(target.value) ? "The name is taken" : "");
  const submit = (event) => {
    event.preventDefault();
    const { name, labels, kind, precision } = Object.fromEntries(new FormData(event.target));
    const percents = precision === "" ? null : Number(precision);
    const next = { ...known, labels: labelsOf(labels), kind, precision: percents && percents / 100 };
    put(set?.name ?? name, next, agreed.current);
    agreed.current = null;
  };
  const remove = () => run(async () => {
    setDeleting(false);
    await client.dropLabelSet(collection, set.name);
    onDone(null);
  });
  const isConflict = problem?.status === CONFLICT && set;
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
              <p>${problem.detail.replace(/, or send drop_verdicts.*/s, ", or drop them")}.</p>
              <button type="button" class="quiet danger" disabled=${busy}
                onClick=${({ target }) => { agreed.current = problem.detail; target.form.requestSubmit(); }}>
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
