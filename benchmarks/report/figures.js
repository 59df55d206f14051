"use strict";
/* Figures are drawn when they come into view, and again when the theme changes. */
(() => {
  const config = { displayModeBar: false, responsive: true };

  /* The stored figure in the page's colours; for a file in dark on white, with its title. */
  const styled = (stored, forFile) => {
    const figure = structuredClone(stored);
    const ink = forFile ? "#1a1a1a" : report.css("ink");
    figure.layout.font = { ...figure.layout.font, color: ink };
    for (const trace of figure.data) {
      if (trace.meta === "ink") {
        trace.marker.color = ink;
        trace.marker.line = { ...trace.marker.line, color: ink };
      }
    }
    if (forFile) {
      figure.layout.paper_bgcolor = figure.layout.plot_bgcolor = "#ffffff";
    } else {
      delete figure.layout.title;
      figure.layout.margin = { ...figure.layout.margin, t: figure.layout.margin.t - 20 };
    }
    return figure;
  };
  report.styled = styled;

  /* Save a figure as a picture. */
  report.saveFigure = async (figure, format, name, width) => {
    const options = { format, width, height: figure.layout.height, scale: format === "png" ? 2 : 1 };
    const made = await Plotly.toImage(figure, options);
    report.save(made, report.fileName(name) + "." + format);
  };

  const of = (panel) => report.data("figures")[panel.dataset.key][Number(panel.dataset.index)];
  const drawn = new Set();
  const draw = (panel) => {
    const plot = panel.querySelector(".plot");
    const columns = Number(plot.dataset.columns);
    if (columns > 8) { panel.classList.add("wide"); plot.style.minWidth = columns * 64 + "px"; }
    const figure = styled(of(panel).figure, false);
    Plotly.react(plot, figure.data, figure.layout, config);
    drawn.add(panel);
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting && !drawn.has(entry.target)) draw(entry.target);
  }, { rootMargin: "300px" });

  for (const panel of document.querySelectorAll(".panel")) {
    watcher.observe(panel);
    const title = () => document.querySelector(`#run option[value="${panel.dataset.key}"]`)?.textContent ?? "";
    panel.addEventListener("click", async (event) => {
      const format = event.target.closest("button[data-do]")?.dataset.do;
      if (!format) return;
      const one = of(panel);
      const name = report.fileName(title(), one.title);
      if (format === "csv") report.saveCsv([one.table.columns, ...one.table.rows], name + ".csv");
      else await report.saveFigure(styled(one.figure, true), format, name, Math.max(900, one.columns * 80));
    });
    panel.querySelector("details").addEventListener("toggle", (event) => {
      const place = event.target.querySelector(".data");
      if (event.target.open && !place.firstChild) place.append(report.table(of(panel).table.columns, of(panel).table.rows));
    });
  }
  /* A printed page has no view that figures come into. */
  window.addEventListener("beforeprint", () => {
    for (const panel of document.querySelectorAll(".panel")) if (panel.offsetParent && !drawn.has(panel)) draw(panel);
  });
  report.themed.push(() => { for (const panel of drawn) if (panel.offsetParent) draw(panel); else drawn.delete(panel); });

  const choose = document.getElementById("run");
  const show = () => {
    let group = "";
    for (const run of document.querySelectorAll(".run")) {
      run.hidden = run.dataset.run !== choose.value;
      if (!run.hidden) group = run.dataset.group;
    }
    for (const part of document.querySelectorAll(".group")) part.hidden = part.dataset.group !== group;
  };
  choose.addEventListener("change", show);
  show();
  report.paintSample?.();
})();
