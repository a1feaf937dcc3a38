/** Starts the page. */

import { html, render } from "./html.js";
import { App } from "./shell/app.js";

render(html`<${App}/>`, document.getElementById("app"));
