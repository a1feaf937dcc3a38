/** The API keys: list, make, revoke. */

import { moment } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { CodeBlock } from "../parts/copy.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { useCollections } from "../collections/chosen.js";
import { Problem } from "../parts/feedback.js";
import { client, served } from "../server.js";
import { useStore } from "../store.js";

export function Keys() {
  const { caller } = useStore(served);
  const [keys, setKeys] = useState(null);
  const [problem, setProblem] = useState(null);
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState(null);
  const read = () => client.keys().then(setKeys, setProblem);
  useEffect(() => { read(); }, []);
  const revoke = async () => {
    const { prefix } = revoking;
    setRevoking(null);
    await client.revokeKey(prefix).catch(setProblem);
    read();
  };
  if (problem?.status === 403) return null;
  return html`
    <section class="panel" aria-label="API keys">
      <div class="row">
        <h3>API keys</h3>
        <span class="spring"></span>
        <button type="button" class="quiet small" onClick=${() => setMaking(true)}>New key</button>
      </div>
      <${Problem} problem=${problem}/>
      ${keys?.length === 0 && html`
        <p class="status">
          ${caller?.key
            ? "None but that of the server’s settings."
            : "None. Without keys, whoever reaches this server may do everything."}
        </p>`}
      ${keys?.length > 0 && html`
        <div class="table-frame">
          <table>
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">May</th>
                <th scope="col">Collections</th>
                <th scope="col">Expires</th>
                <th scope="col">Last used</th>
                <th></th>
              </tr>
            </thead>
            <tbody>
              ${keys.map((key) => html`
                <tr key=${key.prefix}>
                  <th scope="row">${key.name}<br/><code>${key.prefix}</code></th>
                  <td>${key.scopes.join(", ")}</td>
                  <td>${key.collections?.join(", ") ?? "all"}</td>
                  <td>${key.expires_at ? moment(key.expires_at) : "never"}</td>
                  <td>${key.last_used_at ? moment(key.last_used_at) : "never"}</td>
                  <td>
                    <button type="button" class="quiet small danger" aria-label="Revoke ${key.name}"
                      onClick=${() => setRevoking(key)}>
                      Revoke
                    </button>
                  </td>
                </tr>`)}
            </tbody>
          </table>
        </div>`}
      ${making && html`<${NewKey} onClose=${() => { setMaking(false); read(); }}/>`}
      ${revoking && html`
        <${Confirm} title="Revoke “${revoking.name}”?" action="Revoke it" onConfirm=${revoke}
          onClose=${() => setRevoking(null)}>
          <p>Programs that use it get a 401 from now on.</p>
        <//>`}
    </section>`;
}

function NewKey({ onClose }) {
  const collections = useCollections();
  const [made, setMade] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [scope, setScope] = useState("read");
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const limited = form.getAll("collection");
    const expires = form.get("expires");
    setProblem(null);
    setBusy(true);
    client.createKey(form.get("name"), scope, {
      ...(limited.length && scope !== "admin" && { collections: limited }),
      ...(expires && { expiresAt: new Date(expires) }),
    }).then(setMade, setProblem).finally(() => setBusy(false));
  };
  if (made) {
    return html`
      <${Dialog} title="Key for ${made.name}" onClose=${onClose}>
        <p>Copy it now: it cannot be shown again.</p>
        <${CodeBlock} code=${made.key} label="API key"/>
      <//>`;
  }
  return html`
    <${Dialog} title="New key" onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        <label>Name, for people <input name="name" required maxlength="100" autocomplete="off"/></label>
        <label>May
          <select value=${scope} onChange=${({ target }) => setScope(target.value)}>
            <option value="read">read: search, classify, embed</option>
            <option value="write">write: add, change and delete pictures, too</option>
            <option value="admin">admin: everything</option>
          </select>
        </label>
        ${scope !== "admin" && collections.length > 0 && html`
          <fieldset>
            <legend>Only these collections (none chosen: all)</legend>
            ${collections.map(({ name }) => html`
              <label class="check" key=${name}>
                <input type="checkbox" name="collection" value=${name}/><span>${name}</span>
              </label>`)}
          </fieldset>`}
        <label>Expires <input name="expires" type="datetime-local"/></label>
        <${Problem} problem=${problem}/>
        <p class="row end"><button type="submit" class="strong" disabled=${busy}>Make the key</button></p>
      </form>
    <//>`;
}
