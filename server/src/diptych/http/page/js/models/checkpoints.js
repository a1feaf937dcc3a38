/** Checkpoints that others trained, as `diptych models suggest` lists them, with the commands that import one. */

import { html, useEffect, useState } from "../html.js";
import { CodeBlock } from "../parts/copy.js";
import { noteAway } from "../server.js";

const FILE = new URL("../../checkpoints.json", import.meta.url);
const FIRST = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K";  // the example of the documentation

const filled = (command, { source, name }) => command.replace("{source}", source).replace("{name}", name);

export function Checkpoints() {
  const [known, setKnown] = useState(null);
  const [source, setSource] = useState(FIRST);
  useEffect(() => { fetch(FILE).then((answer) => answer.json()).then(setKnown, noteAway); }, []);
  if (!known) return null;
  const { checkpoints, commands, recall } = known;
  const chosen = checkpoints.find((one) => one.source === source) ?? checkpoints[0];
  return html`
    <section class="panel" aria-label="Checkpoints to import">
      <h2>More models</h2>
      <p class="status">
        Trained by others, and checked against the original when they are imported. Choose one to see its commands.
      </p>
      <div class="commands">
        <p>In a clone of diptych: import it and serve it.</p>
        <${CodeBlock} code=${filled(commands.clone, chosen)} label="Command in a clone"/>
        <p>Elsewhere: add it to the model repository, then activate it here.</p>
        <${CodeBlock} code=${filled(commands.elsewhere, chosen)} label="Command elsewhere"/>
      </div>
      <div class="table-frame">
        <table class="checkpoints">
          <thead>
            <tr>
              <th scope="col">Checkpoint</th>
              <th scope="col" class="number">Finds, %</th>
              <th scope="col" class="number">GFLOP a picture</th>
              <th scope="col">Languages</th>
              <th scope="col">Licence</th>
            </tr>
          </thead>
          <tbody>
            ${checkpoints.map((one) => html`
              <tr key=${one.source}>
                <th scope="row">
                  <label class="check">
                    <input type="radio" name="checkpoint" checked=${one === chosen}
                           onChange=${() => setSource(one.source)}/>
                    <span>${one.source}</span>
                  </label>
                </th>
                <td class="number">${one.recall.toFixed(1)}</td>
                <td class="number">${one.image_gflops.toFixed(1)}</td>
                <td>${one.languages}</td>
                <td>${one.licence}</td>
              </tr>`)}
          </tbody>
        </table>
      </div>
      <p class="status">Finds: ${recall}. GFLOP: of the image tower; the more, the slower.</p>
    </section>`;
}
