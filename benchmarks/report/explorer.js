"use strict";
/* The sample explorer: filters, list, one sample. */
if (document.getElementById("samples")) (() => {
  const PAGE = 50;
  const at = (id) => document.getElementById(id);
  const runs = report.data("runs");
  const decoded = {};
  const COLOURS = ["#0072B2", "#56B4E9", "#CC79A7", "#D55E00"];
  const colour = (name, index) => ({ synergy: "#E69F00", redundancy: "#009E73" })[name] ?? COLOURS[index % 4];

  const unpack = (text, kind) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return new kind(bytes.buffer);  /* written little-endian, as every browser's machine is */
  };
  const load = (key) => {
    if (!decoded[key]) {
      const run = runs[key];
      const set = report.data("sets")[run.set];
      const [count, classes, experts] = run.shape;
      const numbers = { shown: unpack(run.shown, Int16Array) };
      for (const name of ["weights", "push", "outputs", "prediction"]) numbers[name] = unpack(run[name], Float32Array);
      const dominant = Array.from({ length: count }, (_, row) => {
        let best = 0;
        for (let e = 1; e < experts; e++) if (numbers.weights[row * experts + e] > numbers.weights[row * experts + best]) best = e;
        return best;
      });
      const place = new Map(set.ids.map((id, row) => [id, row]));
      decoded[key] = { ...run, ...set, ...numbers, dominant, place, count, width: classes, size: experts };
    }
    return decoded[key];
  };
  const media = (run, id) => report.data("media")[run.dataset]?.[id] ?? [];

  let run = load(Object.keys(runs)[0]);
  let rows = [];
  let position = 0;

  const fill = (select, first, names) => {
    select.replaceChildren(report.make("option", { value: "" }, first), ...names.map((name, i) => report.make("option", { value: i }, name)));
  };
  const setUp = () => {
    fill(at("by-class"), "every class", run.labels ? run.classes : []);
    at("by-class").disabled = !run.labels;
    fill(at("by-expert"), "any expert", run.experts);
    at("by-correct").disabled = !run.correct;
    at("by-agree").disabled = !run.agree;
  };
  const text = (row) => {
    const words = media(run, run.ids[row]).filter((one) => one.kind === "text").map((one) => one.value);
    return [run.ids[row], run.label[row], run.decision[row], ...words].join("\n").toLowerCase();
  };

  const filter = (keep) => {
    const value = (id) => (at(id).disabled ? "" : at(id).value);
    const [wanted, correct, agree] = [at("by-text").value.trim().toLowerCase(), value("by-correct"), value("by-agree")];
    const [inClass, expert] = [value("by-class"), value("by-expert")];
    const before = keep ? rows[position] : undefined;
    rows = [];
    for (let row = 0; row < run.count; row++) {
      if (correct !== "" && run.correct[row] !== Number(correct)) continue;
      if (agree !== "" && run.agree[row] !== Number(agree)) continue;
      if (inClass !== "" && !run.labels[row].includes(Number(inClass))) continue;
      if (expert !== "" && run.dominant[row] !== Number(expert)) continue;
      if (wanted !== "" && !text(row).includes(wanted)) continue;
      rows.push(row);
    }
    position = Math.max(0, rows.indexOf(before));
    show();
  };

  const list = () => {
    const start = Math.floor(position / PAGE) * PAGE;
    const items = rows.slice(start, start + PAGE).map((row, index) => {
      const button = report.make("button", { type: "button" }, report.make("bdi", {}, run.ids[row]), " ");
      const right = run.correct?.[row];
      const mark = right === undefined ? "" : right ? "✓ " : "✗ ";
      const words = right === undefined ? "" : right ? "correct, " : "wrong, ";
      const said = report.make("span", { class: "small" },
        report.make("span", { class: right ? "good" : "bad", "aria-hidden": "true" }, mark),
        report.make("span", { class: "off" }, words), report.make("bdi", {}, run.decision[row]));
      if (right === 0 || right === undefined) said.append(", label ", report.make("bdi", {}, run.label[row]));
      button.append(said);
      if (start + index === position) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => { position = start + index; show(); at("list").querySelector("[aria-current]")?.focus(); });
      return report.make("li", {}, button);
    });
    at("list").replaceChildren(...items);
    const current = at("list").querySelector("[aria-current]");
    if (current) at("list").scrollTop = Math.max(0, current.offsetTop - at("list").offsetTop - 120);
  };

  /* Values as a line on a small drawing. */
  const spark = (values, label) => {
    const good = values.filter((one) => one !== null);
    const [low, high] = [Math.min(...good), Math.max(...good)];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of Object.entries({ viewBox: "0 0 240 36", width: 240, height: 36, role: "img", "aria-label": `${label}: from ${low} to ${high}` })) svg.setAttribute(key, value);
    const points = values.map((one, i) => one === null ? null : `${(2 + 236 * i / Math.max(values.length - 1, 1)).toFixed(1)},${(33 - 30 * (one - low) / ((high - low) || 1)).toFixed(1)}`);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    for (const [key, value] of Object.entries({ points: points.filter(Boolean).join(" "), fill: "none", stroke: "currentColor", "stroke-width": 1.5 })) line.setAttribute(key, value);
    svg.append(line);
    return svg;
  };
  const modality = (one) => {
    const part = report.make("div", {}, report.make("h4", {}, one.modality));
    if (one.kind === "image") part.append(report.make("img", { src: one.value, alt: `${one.modality} of the sample` }));
    else if (one.kind === "text") part.append(report.make("div", { class: "text", dir: "auto", tabindex: 0, role: "group", "aria-label": one.modality }, one.value));
    else if (one.kind === "series") {
      one.value.forEach((values, i) => {
        const name = one.names[i] ?? `channel ${i + 1}`;
        part.append(report.make("span", { class: "small" }, name), spark(values, name));
      });
      if (one.of > one.value.length) part.append(report.make("span", { class: "small" }, `and ${one.of - one.value.length} more channels`));
    } else {
      const named = one.value.map((value, i) => [one.names[i] ?? `feature ${i + 1}`, value]);
      const body = report.make("div", { class: "data", tabindex: 0, role: "group", "aria-label": `${one.modality}: features` });
      const open = report.make("details", {}, report.make("summary", {}, `${one.of} features`), body);
      open.addEventListener("toggle", () => { if (open.open && !body.firstChild) body.append(report.table(["feature", "value"], named)); });
      part.append(spark(one.value, one.modality), open);
      if (one.of > one.value.length) part.append(report.make("span", { class: "small" }, `the first ${one.value.length} of them`));
    }
    return part;
  };

  /* Range of each expert's weight of a sample over the other runs of its group in this page. */
  const seeds = (id) => {
    const found = [];
    for (const [key, other] of Object.entries(runs)) {
      if (other.group !== run.group || other.experts.join() !== run.experts.join()) continue;
      const one = load(key);
      const row = one.place.get(id);
      if (row !== undefined) found.push(one.weights.subarray(row * one.size, (row + 1) * one.size));
    }
    return found;
  };
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  const say = (value) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(2);

  const facts = (row) => {
    const columns = [];
    for (let k = 0; k < run.width; k++) {
      const c = run.shown[row * run.width + k];
      if (c < 0) continue;
      const outputs = run.experts.map((_, e) => run.outputs[(row * run.width + k) * run.size + e]);
      const products = outputs.map((value, e) => value * run.weights[row * run.size + e]);
      columns.push({ name: run.classes[c], marks: marks(row, c), outputs, products, sum: run.prediction[row * run.width + k] });
    }
    return columns;
  };
  const marks = (row, c) => {
    if (!run.labels) return [];
    const found = [];
    if (run.task === "multilabel" ? run.decision[row].split(", ").includes(run.classes[c]) : run.decision[row] === run.classes[c]) found.push("predicted");
    if (run.labels[row].includes(c)) found.push("label");
    return found;
  };

  let current = null;  /* the figure that is shown, for saving */
  const plot = (row, columns) => {
    const short = (name) => (name.length > 28 ? name.slice(0, 27) + "…" : name).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
    const names = columns.map((one, i) => short(one.name) + "\u200b".repeat(i));  /* equal names stay apart */
    const data = run.experts.map((name, e) => ({
      type: "bar", orientation: "h", name: short(name), x: columns.map((one) => one.products[e]), y: names,
      marker: { color: colour(name, e) }, hovertemplate: "%{x:.3f}",
    }));
    data.push({ type: "scatter", mode: "markers", name: "sum: the prediction", x: columns.map((one) => one.sum), y: names, meta: "ink", marker: { symbol: "line-ns-open", size: 18, line: { width: 3 } } });
    current = { data, layout: {
      title: { text: short(`Weight x output of ${run.ids[row]}`), x: 0.01, xanchor: "left", font: { size: 15 } },
      barmode: "relative", height: 150 + 44 * columns.length, margin: { l: 20, r: 20, t: 60, b: 45 },
      legend: { orientation: "h", yanchor: "bottom", y: 1, x: 0 }, font: { family: "system-ui, sans-serif", size: 13 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: { title: { text: "weight x output" }, gridcolor: "rgba(127,127,127,0.3)", zerolinecolor: "#7F7F7F" },
      yaxis: { autorange: "reversed", automargin: true, type: "category" },
    } };
    paint();
  };
  const paint = () => {
    if (!current || !visible || !report.styled) return;  /* plotly comes after this script */
    const figure = report.styled(current, false);
    Plotly.react(at("sample-plot"), figure.data, figure.layout, { displayModeBar: false, responsive: true });
  };
  let visible = false;
  new IntersectionObserver((entries) => {
    if (entries.some((one) => one.isIntersecting) && !visible) { visible = true; paint(); }
  }, { rootMargin: "300px" }).observe(at("samples"));

  const show = () => {
    list();
    at("previous").disabled = position <= 0;
    at("next").disabled = position >= rows.length - 1;
    const total = run.count < run.total ? `, of ${run.total} in the run` : "";
    at("count").textContent = rows.length ? `Sample ${position + 1} of ${rows.length} that match; ${run.count} here${total}.` : `No sample of ${run.count} matches.`;
    at("sample").hidden = !rows.length;
    if (!rows.length) return;
    const row = rows[position];
    at("sample-title").replaceChildren(report.make("bdi", {}, run.ids[row]));
    const said = at("sample-said");
    said.replaceChildren("Predicted ", report.make("strong", {}, run.decision[row]), ", label ", report.make("strong", {}, run.label[row]));
    if (run.correct) said.append(": ", report.make("strong", { class: run.correct[row] ? "good" : "bad" }, run.correct[row] ? "correct" : "wrong"));
    if (run.agree) said.append("; the experts, each alone, ", run.agree[row] ? "agree" : "disagree");
    said.append(".");
    at("sample-media").replaceChildren(...media(run, run.ids[row]).map(modality));

    const ranges = seeds(run.ids[row]);
    const push = run.against[row] ? `Push to ${run.decision[row]} over ${run.against[row]}` : "Push to the decision";
    const heads = ["Expert", "Weight", ...(ranges.length > 1 ? [`Over ${ranges.length} seeds`] : []), push];
    const body = run.experts.map((name, e) => {
      const weight = run.weights[row * run.size + e];
      const bar = report.make("span", { class: "bar", style: `width: ${(5 * weight).toFixed(2)}rem` });
      const cells = [report.make("th", { scope: "row" }, name), report.make("td", {}, weight.toFixed(3) + " ", bar)];
      if (ranges.length > 1) {
        const values = ranges.map((one) => one[e]);
        cells.push(report.make("td", {}, `${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}`));
      }
      cells.push(report.make("td", { class: "number" }, signed(run.push[row * run.size + e])));
      return report.make("tr", {}, ...cells);
    });
    at("sample-weights").replaceChildren(
      report.make("caption", {}, "Weights, and what each expert adds to the decision"),
      report.make("thead", {}, report.make("tr", {}, ...heads.map((name) => report.make("th", { scope: "col" }, name)))),
      report.make("tbody", {}, ...body));
    at("sample-note").textContent = run.verdict + " A weight does not say that this expert decided, nor that its interaction is in the data.";

    const columns = facts(row);
    at("sample-products").replaceChildren(
      report.make("caption", {}, "Weight x output of the classes that matter; below it, the output alone"),
      report.make("thead", {}, report.make("tr", {}, ...["Class", ...run.experts, "Sum: prediction"].map((name) => report.make("th", { scope: "col" }, name)))),
      report.make("tbody", {}, ...columns.map((one) => report.make("tr", {},
        report.make("th", { scope: "row" }, one.name, report.make("span", { class: "small" }, one.marks.join(", "))),
        ...one.products.map((value, e) => report.make("td", { class: "number" }, signed(value), report.make("span", { class: "small" }, say(one.outputs[e])))),
        report.make("td", { class: "number" }, report.make("strong", {}, signed(one.sum)))))));
    plot(row, columns);
  };

  const step = (by) => {
    const to = position + by;
    if (to < 0 || to >= rows.length) return;
    position = to;
    show();
  };
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, .scroll, .data, .text, summary")) return;
    const inside = target.closest("#samples");
    if (!inside && target !== document.body) return;
    const by = { ArrowRight: 1, ArrowLeft: -1, ...(inside ? { j: 1, k: -1 } : {}) }[event.key];
    if (!by) return;
    event.preventDefault();
    const listed = at("list").contains(document.activeElement);
    step(by);
    if (listed) at("list").querySelector("[aria-current]")?.focus();
  });
  for (const id of ["by-class", "by-correct", "by-expert", "by-agree"]) at(id).addEventListener("change", () => filter(true));
  let typed = 0;
  at("by-text").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => filter(true), 120); });
  at("by-run").addEventListener("change", () => { run = load(at("by-run").value); setUp(); rows = []; filter(false); });
  at("filters").addEventListener("reset", (event) => {
    event.preventDefault();  /* the run stays */
    at("by-text").value = "";
    for (const id of ["by-class", "by-correct", "by-expert", "by-agree"]) at(id).value = "";
    filter(true);
  });
  at("filters").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typed); filter(true); });
  at("sample").addEventListener("click", async (event) => {
    const format = event.target.closest("button[data-sample]")?.dataset.sample;
    if (!format) return;
    const row = rows[position];
    if (format !== "csv") return report.saveFigure(report.styled(current, true), format, `sample-${run.ids[row]}`, 900);
    const table = [["class", "expert", "weight", "output", "product"]];
    for (const one of facts(row)) run.experts.forEach((name, e) => table.push([one.name, name, run.weights[row * run.size + e], one.outputs[e], one.products[e]]));
    report.saveCsv(table, report.fileName("sample", run.ids[row]) + ".csv");
  });
  report.themed.push(paint);
  report.paintSample = paint;
  setUp();
  filter(false);
})();
