/** Files that the page makes: tables and archives. */

/** Offer `blob` to the user as a download. */
export function saveFile(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);  // the browser may still read it
}

/** Comma-separated values as RFC 4180 has them: a list of rows, each a list of values. */
export const csv = (rows) => new Blob(rows.map((row) => `${row.map(cell).join(",")}\r\n`), { type: "text/csv" });

function cell(value) {
  // A spreadsheet takes text that begins with one of these for a formula.
  const text = String(value ?? "").replace(/^(?=[=+\-@\t\r\n])/, typeof value === "number" ? "" : "'");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
