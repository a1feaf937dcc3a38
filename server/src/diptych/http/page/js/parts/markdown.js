/** Draws the part of Markdown that model cards use: headings, paragraphs, lists, tables, code, links, pictures. */

import { Fragment, html, useEffect, useState } from "../html.js";

/** `figure(file)` resolves to a blob of a picture that the text names. */
export function Markdown({ text, figure }) {
  return html`
    <div class="markdown">
      ${blocksOf(text).map((block, i) => html`<${Block} key=${i} block=${block} figure=${figure}/>`)}
    </div>`;
}

/** What a line begins; null for a line of a paragraph, and for one that goes on. */
function kindOf(line) {
  if (line.startsWith("|")) return "table";
  if (/^\s*[-*] /.test(line)) return "list";
  return /^\s*\d+\. /.test(line) ? "steps" : null;
}

/** Lines that belong together: `{kind, lines}`. */
function blocksOf(text) {
  const body = text.replace(/^---\n[\s\S]*?\n---\n/, "");  // the front matter is for machines
  const blocks = [];
  let block = null;
  const begin = (kind, line) => {
    block = { kind, lines: [line] };
    blocks.push(block);
  };
  for (const line of body.split("\n")) {
    if (block?.kind === "code") {
      if (line.startsWith("```")) block = null;
      else block.lines.push(line);
    } else if (line.startsWith("```")) {
      begin("code", "");
      block.lines.pop();
    } else if (!line.trim()) block = null;
    else if (/^#{1,6} /.test(line)) {
      begin("heading", line);
      block = null;
    } else {
      const kind = kindOf(line);
      if (block && (kind === block.kind || kind === null)) block.lines.push(line);
      else begin(kind ?? "paragraph", line);
    }
  }
  return blocks;
}

function Block({ block: { kind, lines }, figure }) {
  const inline = (text) => html`<${Inline} text=${text} figure=${figure}/>`;
  if (kind === "heading") {
    const level = Math.min(4, /^#+/.exec(lines[0])[0].length + 1);
    return html`<${`h${level}`}>${inline(lines[0].replace(/^#+ /, ""))}<//>`;
  }
  if (kind === "code") return html`<pre><code>${lines.join("\n")}</code></pre>`;
  if (kind === "table") return html`<${Table} lines=${lines} inline=${inline}/>`;
  if (kind === "list" || kind === "steps") {
    const items = lines.reduce((all, line) => {
      if (/^\s*([-*]|\d+\.) /.test(line)) all.push(line.replace(/^\s*([-*]|\d+\.) /, ""));
      else all[all.length - 1] += ` ${line.trim()}`;
      return all;
    }, []);
    return html`
      <${kind === "list" ? "ul" : "ol"}>${items.map((item, i) => html`<li key=${i}>${inline(item)}</li>`)}<//>`;
  }
  return html`<p>${inline(lines.join(" "))}</p>`;
}

function Table({ lines, inline }) {
  const rows = lines.map((line) => line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => cell.trim()));
  const [head, ...body] = rows.filter((row) => !row.every((cell) => /^:?-+:?$/.test(cell)));
  return html`
    <div class="table-frame">
      <table>
        <thead><tr>${head.map((cell, i) => html`<th key=${i} scope="col">${inline(cell)}</th>`)}</tr></thead>
        <tbody>
          ${body.map((row, n) => html`
            <tr key=${n}>${row.map((cell, i) => html`<td key=${i}>${inline(cell)}</td>`)}</tr>`)}
        </tbody>
      </table>
    </div>`;
}

const INLINE = /!\[([^\]]*)\]\(([^)\s]+)\)|\[([^\]]+)\]\(([^)\s]+)\)|`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*/g;

function Inline({ text, figure }) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, alt, source, words, target, code, strong, emphasis] = found;
    parts.push(text.slice(end, found.index));
    end = found.index + whole.length;
    if (source) parts.push(html`<${Figure} alt=${alt} file=${source} figure=${figure}/>`);
    else if (/^https?:/.test(target ?? "")) parts.push(html`<a href=${target} rel="noreferrer">${words}</a>`);
    else if (target) parts.push(words);
    else if (code) parts.push(html`<code>${code}</code>`);
    else if (strong) parts.push(html`<strong>${strong}</strong>`);
    else parts.push(html`<em>${emphasis}</em>`);
  }
  return html`<${Fragment}>${[...parts, text.slice(end)]}<//>`;
}

function Figure({ alt, file, figure }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    let made = null;
    let closed = false;
    figure(file).then((blob) => {
      if (closed) return;
      made = URL.createObjectURL(blob);
      setUrl(made);
    }, () => {});
    return () => {
      closed = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [file]);
  return url && html`<img alt=${alt} src=${url}/>`;
}
