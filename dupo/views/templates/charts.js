"use strict";
// Draws each figure.chart from the JSON inside it, with uPlot. A line is told by colour and by dashes.
(() => {
  const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [14, 4], [4, 2], [1, 5]];
  const COLOURS = 7;
  const STEPS = "optimizer step";
  const height = (width) => (width > 600 ? 290 : 230);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const lineColour = (look) => `--line-${look % COLOURS}`;
  // A colour that comes for the second time has other dashes.
  const dashes = (look) => DASHES[(look + Math.floor(look / COLOURS)) % DASHES.length];

  function written(value) {
    if (value == null) return "–";
    const size = Math.abs(value);
    if (size >= 1e12 || (size > 0 && size < 1e-4)) return value.toExponential(2);
    if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
    return size >= 1000 ? value.toLocaleString("en-US", { maximumFractionDigits: 1 }) : String(Number(value.toPrecision(4)));
  }

  // Lines have points at different x: the cursor reads each line at its own nearest point, and nothing
  // before its first and behind its last point.
  function nearest(u, line, index) {
    const values = u.data[line];
    let before = index;
    let after = index;
    while (before >= 0 && values[before] == null) before--;
    while (after < values.length && values[after] == null) after++;
    if (before < 0 || after === values.length) return index;
    const xs = u.data[0];
    return xs[index] - xs[before] <= xs[after] - xs[index] ? before : after;
  }

  // Where no cursor is, the legend tells the last values of a run; of other charts the last ones say nothing.
  function rest(u, chart) {
    u.root.classList.toggle("idle", chart.x !== STEPS);
    const last = u.data[0].length - 1;
    u.setLegend({ idxs: u.series.map((line, index) => (index ? nearest(u, index, last) : last)) });
  }

  function wholeSteps(span) {
    const steps = [];
    for (let power = 1; power <= span; power *= 10) steps.push(power, 2 * power, 5 * power);
    return steps.length ? steps : [1];
  }

  function axis(own) {
    return {
      font: "12px system-ui, sans-serif",
      stroke: colour("--muted"),
      grid: { stroke: colour("--grid"), width: 1 },
      ticks: { show: false },
      values: (u, splits) => splits.map(written),
      ...own,
    };
  }

  function options(chart, width, button) {
    const [left, right] = chart.range.x;
    const lines = chart.lines.map((line) => ({
      label: line.name,
      stroke: colour(lineColour(line.look)),
      width: 2,
      dash: dashes(line.look),
      paths: chart.stepped ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.linear(),
      points: { size: 5, fill: colour(lineColour(line.look)), show: !chart.stepped && line.xs.length <= 30 },
      value: (u, value) => written(value),
    }));
    const fixed = (low, high) => (u, min, max) => (min == null ? [low, high] : [min, max]);
    return {
      width,
      height: height(width),
      padding: [10, 12, 0, 0],
      scales: {
        x: { time: false, min: left, max: right, range: fixed(left, right) },
        y: { auto: false, min: chart.range.y[0], max: chart.range.y[1], range: fixed(...chart.range.y) },
      },
      series: [{ label: chart.x, value: (u, value) => written(value) }, ...lines],
      axes: [
        axis({ size: 30, gap: 4, grid: { show: false }, ...(chart.whole ? { incrs: wholeSteps(right - left) } : {}) }),
        axis({ gap: 6, size: (u, values) => 14 + 7 * Math.max(...(values ?? [""]).map((text) => text.length)) }),
      ],
      cursor: {
        dataIdx: nearest,
        drag: { x: true, y: true, uni: 40, dist: 6 },
        points: { size: 8 },
        bind: { dblclick: (u, target, handle) => (event) => { handle(event); whole(u, chart); } },
        // All charts over steps point at the same step.
        sync: chart.x === STEPS ? { key: "steps", scales: ["x", null], filters: { pub: isHover } } : {},
      },
      legend: { markers: { show: true, width: 0 } },
      hooks: { setCursor: [(u) => { if (u.cursor.left < 0) rest(u, chart); else u.root.classList.remove("idle"); }], setScale: [(u) => { button.hidden = !isZoomed(u, chart); }] },
    };
  }

  const isHover = (type) => type === "mousemove" || type === "mouseleave";

  function whole(u, chart) {
    u.batch(() => {
      for (const key of ["x", "y"]) u.setScale(key, { min: chart.range[key][0], max: chart.range[key][1] });
    });
  }

  function isZoomed(u, chart) {
    return ["x", "y"].some((key) => {
      const { min, max } = u.scales[key];
      const [low, high] = chart.range[key];
      const least = 1e-6 * (high - low);
      return min != null && (Math.abs(min - low) > least || Math.abs(max - high) > least);
    });
  }

  // One finger reads values, two zoom; up and down still scrolls the page.
  function followFingers(u, chart) {
    const fingers = new Map();
    let start = null;
    const gap = () => { const [one, two] = [...fingers.values()]; return Math.max(10, Math.abs(one.left - two.left)); };
    const place = (event) => {
      const box = u.over.getBoundingClientRect();
      return { left: event.clientX - box.left, top: event.clientY - box.top };
    };
    const lift = (event) => { fingers.delete(event.pointerId); start = null; };
    u.over.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "touch") return;
      fingers.set(event.pointerId, place(event));
      if (fingers.size === 2) {
        const [one, two] = [...fingers.values()];
        start = { gap: gap(), centre: u.posToVal((one.left + two.left) / 2, "x"), ...u.scales.x };
      }
    });
    u.over.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, place(event));
      if (start === null) return u.setCursor(place(event), true, true);
      const factor = start.gap / gap();
      const [low, high] = chart.range.x;
      const min = Math.max(low, start.centre - (start.centre - start.min) * factor);
      const max = Math.min(high, start.centre + (start.max - start.centre) * factor);
      if (min < max) u.setScale("x", { min, max });
    });
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) u.over.addEventListener(name, lift);
  }

  // The sample of a line in the legend is drawn as the line is, and its name is a button for keyboards too.
  function finishLegend(u, chart) {
    const names = [...u.root.querySelectorAll(".u-series")].slice(1);
    names.forEach((row, index) => {
      const { look } = chart.lines[index];
      const sample = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      for (const [name, value] of Object.entries({ x1: 0, x2: 26, y1: 4, y2: 4, "stroke-width": 2.5 })) line.setAttribute(name, value);
      line.style.stroke = `var(${lineColour(look)})`;
      line.style.strokeDasharray = dashes(look).join(" ");
      sample.append(line);
      row.querySelector(".u-marker").replaceChildren(sample);
      const head = row.querySelector("th");
      head.tabIndex = 0;
      head.setAttribute("role", "button");
      head.title = "hide or show this line";
      head.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        head.click();
      });
    });
  }

  function draw(figure, width) {
    const chart = JSON.parse(figure.querySelector("script").textContent);
    const plot = figure.querySelector(".plot");
    const button = document.createElement("button");
    button.textContent = "zoom out";
    button.hidden = true;
    const tables = chart.lines.map((line) => [line.xs, line.ys]);
    const u = new uPlot(options(chart, width, button), uPlot.join(tables), plot);
    button.addEventListener("click", () => whole(u, chart));
    plot.append(button);
    u.ctx.canvas.setAttribute("role", "img");
    u.ctx.canvas.setAttribute("aria-label", `${chart.title}: ${chart.lines.map((line) => line.name).join(", ")}`);
    finishLegend(u, chart);
    followFingers(u, chart);
    rest(u, chart);
    return u;
  }

  const drawn = new Map();

  function show(figure, width) {
    try {
      drawn.set(figure, draw(figure, width));
    } catch (error) {
      // The table below holds the same figures.
      figure.querySelector(".plot").textContent = `This chart could not be drawn: ${error.message}`;
      figure.querySelector(".values").open = true;
      drawn.set(figure, null);
    }
  }

  // A chart inside closed details has no width; it is drawn when it gets one.
  const watcher = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const width = Math.floor(contentRect.width);
      const figure = target.parentElement;
      if (width === 0) continue;
      if (!drawn.has(figure)) show(figure, width);
      else drawn.get(figure)?.setSize({ width, height: height(width) });
    }
  });

  for (const figure of document.querySelectorAll("figure.chart")) {
    // Open where no script runs: the figures are told then as well.
    figure.querySelector(".values").open = false;
    watcher.observe(figure.querySelector(".plot"));
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [figure, u] of drawn) {
      if (u === null) continue;
      const { width } = u;
      u.destroy();
      figure.querySelector(".plot").replaceChildren();
      show(figure, width);
    }
  });
})();
