"use strict";
/* Theme, tables, downloads. Text from runs and data sets only ever becomes textContent. */
const report = {
  parts: {},
  /* One part of the page's data, read when it is first needed. */
  data(name) {
    if (!(name in this.parts)) this.parts[name] = JSON.parse(document.getElementById("data-" + name).textContent);
    return this.parts[name];
  },
  /* An element with attributes and children; strings become text. */
  make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  },
  css(name) { return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim(); },
  digits(value) {
    if (value === null || Number.isNaN(value)) return "";
    return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : String(value);
  },
  save(address, file) {
    const link = report.make("a", { href: address, download: file });
    document.body.append(link);
    link.click();
    link.remove();
  },
  /* Rows of cells; a text that a spreadsheet would take for a formula is quoted. */
  saveCsv(rows, file) {
    const cell = (value) => {
      let text = value === null || value === undefined ? "" : String(value);
      if (typeof value === "string" && /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = "'" + text;
      return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
    };
    const text = rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
    const address = URL.createObjectURL(new Blob(["\ufeff" + text], { type: "text/csv" }));
    report.save(address, file);
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  },
  fileName(...parts) { return parts.join("-").replace(/[^A-Za-z0-9.]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 100); },
  themed: [],  /* called when the theme changes */
};

/* ---- theme ---- */
(() => {
  const button = document.getElementById("theme");
  const wanted = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("i2moe-theme"); } catch { /* no storage here */ }
  const apply = () => {
    const dark = chosen ? chosen === "dark" : wanted.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.textContent = dark ? "Light theme" : "Dark theme";
    for (const call of report.themed) call();
  };
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("i2moe-theme", chosen); } catch { /* no storage here */ }
    apply();
  });
  wanted.addEventListener("change", apply);
  apply();
})();

/* ---- tables ---- */
report.sortable = (table) => {
  for (const [index, head] of [...table.tHead.rows[0].cells].entries()) {
    const button = report.make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[index].dataset.sort ?? row.cells[index].textContent.trim();
      const rows = [...table.tBodies[0].rows];
      const numeric = rows.every((row) => key(row) === "" || !Number.isNaN(Number(key(row))));
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");  /* empty cells last, either way */
        const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  }
};
report.table = (columns, rows) => {
  const head = report.make("tr", {}, ...columns.map((name) => report.make("th", { scope: "col" }, name)));
  const body = rows.map((row) => report.make("tr", {}, ...row.map((value) => {
    const cell = report.make("td", {}, report.digits(value));
    if (typeof value === "number") { cell.className = "number"; cell.dataset.sort = value; }
    return cell;
  })));
  const table = report.make("table", {}, report.make("thead", {}, head), report.make("tbody", {}, ...body));
  report.sortable(table);
  return table;
};
for (const table of document.querySelectorAll("table.sortable")) report.sortable(table);
for (const button of document.querySelectorAll("button[data-table]")) {
  button.addEventListener("click", () => {
    const rows = [...document.getElementById(button.dataset.table).rows];
    report.saveCsv(rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim())), "comparison.csv");
  });
}
