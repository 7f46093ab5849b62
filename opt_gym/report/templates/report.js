"use strict";
(() => {
  const drawn = JSON.parse(document.getElementById("drawn").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)").matches;

  // The text of a library, packed by gzip and base64.
  async function unpacked(id) {
    const packed = document.getElementById(id).textContent;
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream();
    return new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text();
  }

  // A copy with "var(--name)" as the color that it is now.
  function colored(value) {
    if (typeof value === "string" && value.startsWith("var(--")) {
      const style = getComputedStyle(document.documentElement);
      return style.getPropertyValue(value.slice(4, -1)).trim();
    }
    if (Array.isArray(value)) return value.map(colored);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, colored(v)]));
    }
    return value;
  }

  function themed(layout, narrow) {
    const axis = { gridcolor: "var(--grid)", linecolor: "var(--line)", zerolinecolor: "var(--line)", tickcolor: "var(--line)" };
    const merged = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: "var(--ink)", size: narrow ? 11 : 12, family: "system-ui, sans-serif" },
      margin: { l: 56, r: 12, t: 14, b: 50 },
      hovermode: "closest",
      hoverlabel: { bgcolor: "var(--panel)", bordercolor: "var(--line)", font: { color: "var(--ink)" }, namelength: 40 },
      dragmode: touch ? false : "zoom",
      legend: { tracegroupgap: 0, ...(narrow ? { orientation: "h", y: -0.22, yanchor: "top", font: { size: 10.5 } } : { font: { size: 11.5 } }) },
      ...layout,
    };
    for (const name of ["xaxis", "yaxis"]) {
      merged[name] = { ...axis, ...(layout[name] || {}) };
      if (merged[name].type === "log" && !merged[name].tickvals) {
        merged[name] = { dtick: 1, exponentformat: "power", ...merged[name] };
      }
    }
    return colored(merged);
  }

  function withAlpha(color, alpha) {
    const number = parseInt(color.slice(1), 16);
    return `rgba(${number >> 16}, ${(number >> 8) & 255}, ${number & 255}, ${alpha})`;
  }

  // The figure of task curves: lines, and bands where a spread is known.
  function curvesOf(id) {
    const { traces, steps, tasks } = drawn[id].curves;
    const task = tasks[document.querySelector(`[data-task-of="${id}"]`).value];
    const split = Number(document.querySelector(`[data-split-of="${id}"]`).value);
    const data = [];
    const shown = [];
    for (const [number, at, means, spreads] of task.curves) {
      const trace = traces[number];
      const y = means[split];
      if (trace.visible === true) shown.push(...y.filter((v) => v !== null));
      if (spreads) {
        const low = y.map((v, k) => (v === null || spreads[split][k] === null ? null : v - spreads[split][k]));
        const high = y.map((v, k) => (v === null || spreads[split][k] === null ? null : v + spreads[split][k]));
        const edge = { type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: trace.name, x: steps[at] };
        const fill = withAlpha(colored(trace.line.color), 0.16);
        data.push({ ...edge, y: low }, { ...edge, y: high, fill: "tonexty", fillcolor: fill });
      }
      data.push({ ...trace, legendgroup: trace.name, x: steps[at], y, hovertemplate: "step %{x}: %{y:.4g}" });
    }
    const positive = shown.length && Math.min(...shown) > 0;
    const logarithmic = positive && Math.max(...shown) > 3 * Math.min(...shown);
    const layout = {
      xaxis: { title: { text: "inner step" }, type: "log", automargin: true },
      yaxis: { title: { text: `${drawn[id].curves.splits[split]} loss` }, type: logarithmic ? "log" : "linear", automargin: true },
    };
    return { data, layout };
  }

  function figureOf(id) {
    if (drawn[id].curves) return curvesOf(id);
    const chooser = document.querySelector(`[data-choice-of="${id}"]`);
    const figures = drawn[id].figures;
    return figures[chooser ? chooser.value : Object.keys(figures)[0]];
  }

  const isNarrow = (box) => box.parentElement.clientWidth < 640;

  function draw(id) {
    const box = document.getElementById(id);
    const narrow = isNarrow(box);
    const { data, layout } = figureOf(id);
    const config = { responsive: true, displaylogo: false, displayModeBar: false };
    const entries = data.filter((one) => one.showlegend !== false && one.name).length;
    const legend = narrow && layout.showlegend !== false && data[0].type === "scatter";
    const height = drawn[id].height + (legend ? 14 * entries : 0);
    box.style.height = `${height}px`;
    box.dataset.narrow = narrow;
    return window.Plotly.react(box, colored(data), themed({ ...layout, height }, narrow), config);
  }

  async function drawAll() {
    const code = document.createElement("script");
    code.textContent = await unpacked("packed-plotly");
    document.head.append(code);
    const ids = Object.keys(drawn);
    for (const id of ids) {
      await draw(id);
      for (const kind of ["task", "split", "choice"]) {
        document.querySelector(`[data-${kind}-of="${id}"]`)?.addEventListener("change", () => draw(id));
      }
    }
    dark.addEventListener("change", () => ids.forEach(draw));
    const turned = (id) => {
      const box = document.getElementById(id);
      return box.dataset.narrow !== String(isNarrow(box));
    };
    window.addEventListener("resize", () => ids.filter(turned).forEach(draw));
    ids.filter(turned).forEach(draw);
  }

  async function sortTables() {
    const code = new Blob([await unpacked("packed-tables")], { type: "text/javascript" });
    const address = URL.createObjectURL(code);
    const { default: DataTable } = await import(address);
    URL.revokeObjectURL(address);
    for (const table of document.querySelectorAll("table[id]")) {
      const isLong = table.id.startsWith("table-");
      new DataTable(table, {
        order: [],
        paging: isLong && table.tBodies[0].rows.length > 25,
        pageLength: 25,
        lengthMenu: [10, 25, 50, { label: "all", value: -1 }],
        searching: isLong,
        info: isLong,
        autoWidth: false,
        language: { search: "Filter", lengthMenu: "_MENU_ rows" },
      });
    }
  }

  const setDark = () => document.documentElement.classList.toggle("dark", dark.matches);
  setDark();
  dark.addEventListener("change", setDark);

  const failed = (what) => (error) => {
    console.error(`${what}: ${error}`);
    for (const box of what === "figures" ? document.querySelectorAll("[data-plot]:empty") : []) {
      box.style.height = "auto";
      box.textContent = "This browser could not draw the figure; it is in the folder figures as PNG and SVG.";
    }
  };
  Promise.all([
    drawAll().catch(failed("figures")),
    sortTables().catch(failed("tables")),
  ]).then(() => document.documentElement.setAttribute("data-ready", ""));
})();
