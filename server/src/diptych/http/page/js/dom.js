/** Creates and finds elements. Text is always set as text, never as markup. */

export const byId = (id) => document.getElementById(id);

/** A new element: attributes of `props` starting with "on" are listeners, `false` and `null` are left out. */
export function element(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** Fill an alert box with an error and, if trying again may help, a button for it. */
export function showProblem(box, problem, retry = null) {
  const parts = [element("strong", {}, problem.title), element("p", {}, problem.message)];
  if (problem.requestId) parts.push(element("p", { class: "request-id" }, `Request ${problem.requestId}`));
  if (retry) parts.push(element("button", { type: "button", class: "quiet", onclick: retry }, "Try again"));
  box.replaceChildren(element("div", { class: "problem" }, ...parts));
}

export const plural = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
