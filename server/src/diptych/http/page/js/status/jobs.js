/** Long adds of the server, with their progress. */

import { moment, plural } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { Problem, Progress } from "../parts/feedback.js";
import { client, may } from "../server.js";

const POLL_MS = 2000;
const N_SHOWN = 10;
export const isOpen = ({ state }) => state === "queued" || state === "running";

/** `{jobs, problem, read}`: the jobs of now, null before the first answer; `read` asks at once. */
export function useJobs() {
  const [jobs, setJobs] = useState(null);
  const [problem, setProblem] = useState(null);
  const [again, setAgain] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    let timer = 0;
    const read = async () => {
      await client.jobs({ signal: controller.signal }).then((found) => {
        setJobs(found);
        setProblem(null);
      }, (error) => { if (!controller.signal.aborted) setProblem(error); });
      if (!controller.signal.aborted) timer = setTimeout(read, POLL_MS);
    };
    read();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [again]);
  return { jobs, problem, setProblem, read: () => setAgain(again + 1) };
}

export function Jobs({ jobs, problem, setProblem, read }) {
  if (!jobs?.length && !problem) return null;
  const cancel = (id) => client.cancelJob(id).then(read, setProblem);
  return html`
    <section class="panel" aria-label="Jobs">
      <h3>Jobs</h3>
      ${problem && problem.kind !== "unreachable" && html`<${Problem} problem=${problem}/>`}
      <ul class="jobs">
        ${jobs?.slice(0, N_SHOWN).map((job) => html`
          <li key=${job.id}>
            <p class="row">
              <strong>${job.collection}</strong>
              <span class="tag ${job.state === "failed" ? "bad" : job.state === "done" ? "good" : ""}">
                ${job.state}
              </span>
              <span class="status">${job.n_done} of ${plural(job.n_items, "picture")}, ${moment(job.created_at)}</span>
              <span class="spring"></span>
              ${isOpen(job) && may("write") && html`
                <button type="button" class="quiet small" onClick=${() => cancel(job.id)}>Cancel</button>`}
            </p>
            ${isOpen(job) && html`<${Progress} done=${job.n_done} total=${job.n_items} label="Pictures of the job"/>`}
            ${job.counts.failed > 0 && html`<p class="refused">${plural(job.counts.failed, "picture")} failed</p>`}
            ${job.reason && html`<p class="status">${job.reason}</p>`}
          </li>`)}
      </ul>
    </section>`;
}
