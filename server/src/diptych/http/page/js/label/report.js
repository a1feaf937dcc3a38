/** How far a review has come, and how right the model is. */

import { count, percent, plural } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Progress } from "../parts/feedback.js";
import { toast } from "../parts/toasts.js";
import { client, isAbort, noteAway, noteModel } from "../server.js";
import { usePassing } from "../search/view.js";
import { useStore } from "../store.js";
import { answers, countNew } from "./answers.js";

const GOAL = "diptych.goal";
const DEFAULT_GOAL = 200;
const MAX_CONTESTED = 100;  // that are shown at once: the others follow once these are settled
const QUIET_MS = 500;  // after the last answer
const IDLE_MS = 10_000;  // after the last key, click or report
const INPUTS = ["keydown", "pointerdown", "input"];

/**
 * The report of a set, read again after answers were stored, and while nobody does anything here: `{report, touched,
 * nOthers, problem, read}`, where `touched` tells which answers the report knows, and `nOthers` how often somebody else
 * had changed it.
 */
export function useReport(collection, set) {
  const [found, setFound] = useState({ report: null, touched: {}, nOthers: 0 });
  const [problem, setProblem] = useState(null);
  const { touched, nSurprises } = useStore(answers);
  const timer = useRef(0);
  const reading = useRef(null);
  const read = async () => {
    clearTimeout(timer.current);
    reading.current?.abort();
    reading.current = new AbortController();
    const { signal } = reading.current;
    const known = answers.get().touched;
    try {
      const report = await client.labelSet(collection, set, { signal });
      noteModel(report.model);
      setFound((before) => {
        const isByOthers = before.report && before.touched === known && !isSame(before.report, report);
        if (before.touched === known && before.report && !isByOthers) return before;
        return { report, touched: known, nOthers: before.nOthers + (isByOthers ? 1 : 0) };
      });
      setProblem(null);
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      setProblem(noteAway(error));
    }
  };
  const isFirst = useRef(true);
  useEffect(() => {
    if (isFirst.current) read();
    else timer.current = setTimeout(read, QUIET_MS);
    isFirst.current = false;
    return () => clearTimeout(timer.current);
  }, [touched, nSurprises]);
  useEffect(() => () => reading.current?.abort(), []);
  useEffect(() => {
    let idle = 0;
    const wait = () => {
      clearTimeout(idle);
      idle = setTimeout(look, IDLE_MS);
    };
    const look = () => {
      if (!document.hidden && !answers.get().waiting.length) read();
      wait();
    };
    wait();
    for (const input of INPUTS) addEventListener(input, wait, true);
    return () => {
      clearTimeout(idle);
      for (const input of INPUTS) removeEventListener(input, wait, true);
    };
  }, []);
  usePassing(problem, read);
  return { ...found, problem, read };
}

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

const readGoals = () => {
  try {
    return JSON.parse(localStorage.getItem(GOAL)) ?? {};
  } catch {
    return {};
  }
};

/** "120 of 200 reviewed", a goal that can be changed, and the agreement so far. */
export function Goal({ place, report, touched }) {
  const key = JSON.stringify([place.collection, place.set]);
  const [goal, setGoal] = useState(() => readGoals()[key] ?? null);
  useStore(answers);
  const aim = goal ?? Math.min(DEFAULT_GOAL, report.n_images);
  const done = report.n_reviewed + countNew(place, touched);
  const change = ({ target }) => {
    const next = target.valueAsNumber >= 1 ? Math.round(target.valueAsNumber) : null;
    setGoal(next);
    localStorage.setItem(GOAL, JSON.stringify({ ...readGoals(), [key]: next }));
  };
  return html`
    <div class="goal">
      <p>
        <span id="reviewed">${count(done)}</span> of${" "}
        <input type="number" min="1" aria-label="Goal" title="The goal" value=${aim} onChange=${change}
          onKeyDown=${({ key, target }) => { if (key === "Enter") target.blur(); }}/>${" "}
        reviewed${done >= aim && aim > 0 && ": the goal is reached"}
        <span class="status">${agreementText(report)}</span>
      </p>
      <${Progress} done=${Math.min(done, aim)} total=${aim} label="Reviewed pictures"/>
    </div>`;
}

/** How many labels somebody has changed that another key gave, and a way to look at these pictures. */
export function Contested({ place: { collection, set }, report, open }) {
  const { n_contested: n } = report;
  if (!n) return null;
  const look = async () => {
    try {
      const { images } = await client.labelledImages(collection, set, { contested: true, limit: MAX_CONTESTED });
      if (images.length) open(images[0], images);
      else toast("They are settled by now");
    } catch (problem) {
      toast(`They could not be read: ${noteAway(problem).detail || problem.title}`);
    }
  };
  return html`
    <p class="notice" role="status">
      Reviewers differ about ${plural(n, "picture")}.${" "}
      <button type="button" class="link" onClick=${look}>Look at ${n === 1 ? "it" : "them"}</button>
    </p>`;
}

export const share = ({ n, n_agree: agreeing }) => (agreeing / n).toFixed(2);
export const range = ({ interval }) => (interval ? `${interval[0].toFixed(2)} to ${interval[1].toFixed(2)}` : "");

function agreementText({ accuracy, n_reviewed: n }) {
  if (accuracy.n) return `${share(accuracy)} agreement (${range(accuracy)}, on ${count(accuracy.n)} drawn at random)`;
  return n ? "agreement: not known before one that is drawn at random is reviewed" : "";
}

/** The agreement by label, and which labels the model takes for which. */
export function Agreement({ report }) {
  const { agreement, accuracy } = report;
  const drawn = new Map(accuracy.labels.map((row) => [row.label, row]));
  const { labels, confusions } = agreement;
  return html`
    <details class="panel agreement">
      <summary>How right is it?</summary>
      ${!report.n_reviewed && html`<p class="status">Nobody has reviewed a picture yet.</p>`}
      ${agreement.n > 0 && html`
        <p class="status">
          The uncertain pictures are reviewed first, so the model is right more often than “of those reviewed” says.
          Only pictures drawn at random tell how often: a label needs ten of them.
        </p>
        <div class="table-frame" tabindex="0" role="region" aria-label="Agreement by label">
          <table>
            <thead>
              <tr>
                <th scope="col">Label</th><th scope="col" class="number">of those reviewed</th>
                <th scope="col" class="number">drawn at random</th><th scope="col" class="number">95 % interval</th>
              </tr>
            </thead>
            <tbody>
              ${[{ label: "All", ...agreement }, ...labels].map((row, i) => {
                const sample = i ? drawn.get(row.label) : accuracy.n ? accuracy : null;
                return html`
                  <tr key=${i}>
                    <th scope="row">${row.label}</th>
                    <td class="number">${row.n_agree} of ${row.n}</td>
                    <td class="number">${sample ? `${sample.n_agree} of ${sample.n}` : "–"}</td>
                    <td class="number">${sample ? range(sample) : "–"}</td>
                  </tr>`;
              })}
            </tbody>
          </table>
        </div>
        ${confusions.length > 0 && html`
          <h3>Where it was wrong</h3>
          <ul class="confusions">
            ${confusions.map(({ label, proposed, n }) => html`
              <li key=${`${label}\n${proposed}`}>
                <span class="number">${count(n)}</span>${" "}
                ${label ?? "none of these"}, ${proposed === null ? "no label proposed" : `proposed as ${proposed}`}
              </li>`)}
          </ul>`}`}
      <p class="status">${thresholdText(report)} ${leftOutText(report)}</p>
    </details>`;
}

function leftOutText({ agreement, n_lapsed: nLapsed }) {
  const { n_unlabelled: nUnlabelled } = agreement;
  const unlabelled = `${plural(nUnlabelled, "reviewed picture")} without a label of the model: not counted above.`;
  const lapsed = `${plural(nLapsed, "answer")} about pictures that are gone or were replaced.`;
  return [nUnlabelled && unlabelled, nLapsed && lapsed].filter(Boolean).join(" ");
}

function thresholdText({ precision, threshold }) {
  const { min_score: least, fitted_on: n, precision: right } = threshold;
  const text = least ? `Pictures that score below ${least.toFixed(2)} have no label` : "Every picture has a label";
  if (!precision) return least ? `${text}.` : "";
  const wanted = `${percent(precision, 1)} are wanted`;
  if (!n) return `${text}. ${wanted} to be right: the score is fitted once 20 that are drawn at random are reviewed.`;
  if (right === null) {
    return `No picture has a label of the model, as no score reaches ${percent(precision, 1)}, judged by `
      + `${count(n)} pictures that were drawn at random: review more of these, or want less.`;
  }
  const found = `of the labels of ${count(n)} pictures that were drawn at random, ${percent(right, 1)} are right`;
  return `${text}: ${found} (${range(threshold)}); ${wanted}.`;
}
