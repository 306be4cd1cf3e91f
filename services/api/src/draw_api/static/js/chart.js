// Images received per minute in the last hour.
(() => {
  "use strict";
  const MINUTES = 60;
  const REFRESH = 5000;
  const place = document.querySelector("[data-chart]");
  if (!place || !window.uPlot) return;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const language = document.documentElement.lang;
  const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 5);
  const number = (value, digits = 0) => value.toLocaleString(language, { maximumFractionDigits: digits });
  // Images are whole: an axis of few has no fractions.
  const whole = (value) => (Number.isInteger(value) ? number(value) : "");
  let chart = null;

  function series(minutes) {
    const now = Math.floor(Date.now() / 60000) * 60;
    const found = new Map(minutes.map((m) => [Date.parse(m.minute) / 1000, m]));
    const xs = [], objects = [], megabytes = [];
    for (let i = MINUTES; i >= 0; i--) {
      const at = now - i * 60;
      xs.push(at);
      objects.push(found.get(at)?.objects ?? 0);
      megabytes.push((found.get(at)?.size_bytes ?? 0) / 1e6);
    }
    return [xs, objects, megabytes];
  }

  function options() {
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    return {
      width: place.clientWidth,
      height: 168,
      padding: [8, 4, 0, 0],
      cursor: { y: false },
      scales: { y: { range: (u, min, max) => [0, Math.max(10, max * 1.1)] }, mb: { range: (u, min, max) => [0, Math.max(1, max * 1.1)] } },
      axes: [{ ...axis, size: 28, values: (u, vs) => vs.map(clock) }, { ...axis, size: 46, values: (u, vs) => vs.map(whole) }, { ...axis, scale: "mb", side: 1, size: 64, grid: { show: false }, values: (u, vs) => vs.map((v) => `${number(v, 2)} MB`) }],
      series: [
        { label: place.dataset.minute, value: (u, v) => (v == null ? "–" : clock(v)) },
        { label: place.dataset.images, value: (u, v) => (v == null ? "–" : number(v)), stroke: colour("--accent"), fill: colour("--accent-soft"), width: 2, paths: uPlot.paths.stepped({ align: 1 }) },
        { label: "MB", scale: "mb", stroke: colour("--muted"), dash: [4, 3], width: 1.5, paths: uPlot.paths.stepped({ align: 1 }), value: (u, v) => (v == null ? "–" : number(v, 1)) },
      ],
    };
  }

  async function refresh() {
    const answer = await fetch(place.dataset.chart, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer?.ok || answer.redirected) return;
    const data = series((await answer.json()).minutes);
    if (chart) chart.setData(data);
    else {
      place.replaceChildren();
      chart = new uPlot(options(), data, place);
    }
  }

  function redraw() {
    chart?.destroy();
    chart = null;
    refresh();
  }

  new ResizeObserver(() => chart && chart.width !== place.clientWidth && chart.setSize({ width: place.clientWidth, height: 168 })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  setInterval(() => window.drawAutomatic?.() && !document.hidden && refresh(), REFRESH);
  refresh();
})();
