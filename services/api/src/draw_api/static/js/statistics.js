// Received images per day.
(() => {
  "use strict";
  const DAY = 86400;
  const HEIGHT = 200;
  const place = document.querySelector("[data-statistics]");
  if (!place || !window.uPlot) return;
  const language = document.documentElement.lang;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = (v, digits = 0) => v.toLocaleString(language, { maximumFractionDigits: digits });
  const date = (seconds) => new Date(seconds * 1000).toLocaleDateString(language === "en" ? "en-CA" : language, { timeZone: "UTC" });
  const short = (seconds) => date(seconds).replace(/^\d{4}-|\d{4}$/, "");
  let chart = null;
  let data = null;

  function series(found) {
    const days = new Map(found.days.map((d) => [Date.parse(d.day) / 1000, d]));
    const rows = [[], [], [], []];
    for (let at = Date.parse(found.first_day) / 1000; at <= Date.parse(found.last_day) / 1000; at += DAY) {
      const day = days.get(at);
      rows[0].push(at);
      rows[1].push(day?.received ?? 0);
      rows[2].push(day?.failed ?? 0);
      rows[3].push((day?.size_bytes ?? 0) / 1e6);
    }
    return rows;
  }

  function options() {
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const whole = (u, vs) => vs.map((v) => (Number.isInteger(v) ? number(v) : ""));
    return {
      width: place.clientWidth - 28,
      height: HEIGHT,
      padding: [8, 4, 0, 0],
      cursor: { y: false },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: { range: (u, min, max) => [min - DAY / 2, max + DAY / 2] },
        y: { range: (u, min, max) => [0, Math.max(10, max * 1.1)] },
        mb: { range: (u, min, max) => [0, Math.max(1, max * 1.1)] },
      },
      axes: [
        { ...axis, size: 28, incrs: [1, 2, 7, 14, 28, 56, 112].map((n) => n * DAY), values: (u, vs) => vs.map(short) },
        { ...axis, size: 62, values: whole },
        { ...axis, scale: "mb", side: 1, size: 76, grid: { show: false }, values: (u, vs) => vs.map((v) => `${number(v, vs.at(-1) < 10 ? 1 : 0)} MB`) },
      ],
      series: [
        { label: place.dataset.day, value: (u, v) => (v == null ? "–" : date(v)) },
        { label: place.dataset.images, stroke: colour("--accent"), fill: colour("--accent-soft"), width: 1, paths: uPlot.paths.bars({ size: [0.7, 60] }), points: { show: false }, value: (u, v) => (v == null ? "–" : number(v)) },
        { label: place.dataset.failed, stroke: colour("--bad"), fill: colour("--bad-soft"), width: 1, paths: uPlot.paths.bars({ size: [0.35, 30] }), points: { show: false }, value: (u, v) => (v == null ? "–" : number(v)) },
        { label: place.dataset.size, scale: "mb", stroke: colour("--muted"), dash: [4, 3], width: 1.5, points: { show: false }, value: (u, v) => (v == null ? "–" : number(v, 1)) },
      ],
    };
  }

  function draw() {
    chart?.destroy();
    place.replaceChildren();
    chart = new uPlot(options(), data, place);
  }

  async function load() {
    const answer = await fetch(place.dataset.statistics, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer?.ok || answer.redirected) return;
    data = series(await answer.json());
    draw();
  }

  new ResizeObserver(() => chart && chart.width !== place.clientWidth - 28 && chart.setSize({ width: place.clientWidth - 28, height: HEIGHT })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && draw());
  load();
})();
