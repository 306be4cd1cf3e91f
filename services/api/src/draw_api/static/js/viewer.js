// Steps through the images and frames of a series; dragging changes window and level. Whatever
// names an image on the page, its links and the address follow the image that is shown.
(() => {
  "use strict";
  const rail = [...document.querySelectorAll("[data-series]")];
  rail.find((link) => link.hasAttribute("aria-current"))?.scrollIntoView({ block: "nearest" });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    rail[Number(event.key) - 1]?.click();
  });

  const form = document.querySelector("[data-viewer]");
  if (!form) return;
  const steps = JSON.parse(form.dataset.steps);
  let [center0, width0] = JSON.parse(form.dataset.suggested);
  let img = form.querySelector("[data-screen]");
  const screen = form.querySelector(".screen");
  const field = (name) => form.elements[name];
  const number = (name) => (!field(name) || field(name).value === "" ? null : Number(field(name).value));
  const said = form.dataset;
  const fill = (text, values) => text.replace(/NUMBER|ALL|FRAMES?|LOW|HIGH|UID/g, (name) => values[name] ?? name);
  const language = document.documentElement.lang;
  const short = (value) => Number(value.toPrecision(5)).toLocaleString(language, { useGrouping: false, maximumFractionDigits: 5 });
  const everywhere = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const note = form.querySelector("p[data-unshown]");
  const texts = document.getElementById("texts").dataset;
  const UNKNOWN = { center: null, width: null, low: null, high: null, location: "", thickness_mm: null, edges: [] };
  let touched = new URLSearchParams(location.search).has("center");
  let busy = false;
  let wanted = "";
  let following = 0;

  const object = () => Math.min(steps.length, Number(field("object").value) || 1);
  const uid = () => steps[object() - 1][0];
  const frames = () => steps[object() - 1][1];

  function asked() {
    const wish = new URLSearchParams({ frame: field("frame").value });
    if (touched && number("center") !== null && number("width") !== null) {
      wish.set("center", field("center").value);
      wish.set("width", field("width").value);
    }
    if (field("inverted")?.checked) wish.set("inverted", "true");
    return wish;
  }

  // One picture at a time: while one is on its way only the last wish is remembered.
  function show() {
    const frame = field("frame");
    frame.max = frames();
    if (Number(frame.value) > frames()) frame.value = frames();
    form.querySelector("[data-frames]").hidden = frames() === 1;
    const say = (name, NUMBER, ALL) => { const out = form.querySelector(`[data-for="${name}"]`); if (out) out.textContent = fill(said.of, { NUMBER, ALL }); };
    say("object", object(), steps.length);
    say("frame", frame.value, frames());
    form.querySelector("[data-overlay]").textContent =
      fill(said.image, { NUMBER: object(), ALL: steps.length }) +
      (frames() > 1 ? `, ${fill(said.frame, { NUMBER: frame.value, ALL: frames() })}` : "");
    const spoken = { NUMBER: object(), ALL: steps.length, FRAME: frame.value, FRAMES: frames() };
    screen.setAttribute("aria-label", `${fill(said.spoken, spoken)} ${said.hint}`);
    name();
    wanted = `/instances/${uid()}/picture?${asked()}`;
    if (!busy) load();
    clearTimeout(following);
    following = setTimeout(follow, 150);
  }

  function name() {
    everywhere("[data-uid] code", (code) => {
      code.title = uid();
      code.textContent = uid().length > 26 ? `${uid().slice(0, 14)}…${uid().slice(-12)}` : uid();
    });
    everywhere("[data-uid] [data-copy]", (copy) => {
      copy.dataset.copy = uid();
      copy.setAttribute("aria-label", fill(said.copyText, { UID: uid() }));
    });
    everywhere("[data-number]", (out) => { out.textContent = steps[object() - 1][2] ?? "–"; });
    everywhere("[data-tags]", (link) => { link.href = `/instances/${uid()}/elements`; });
    everywhere("[data-file]", (link) => { link.href = `/api/v1/instances/${uid()}/file`; });
    everywhere("[data-row]", (row) => {
      if (Number(row.dataset.row) === object()) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    });
    const window = form.querySelector("[data-window-said]");
    if (window && number("center") !== null) window.textContent = `W ${short(number("width"))} L ${short(number("center"))}`;
    const range = form.querySelector("[data-dose]");
    if (range && number("center") !== null) {
      const low = number("center") - number("width") / 2;
      range.querySelector("[data-low]").textContent = Number(low.toPrecision(3));
      range.querySelector("[data-high]").textContent = Number((low + number("width")).toPrecision(3));
    }
  }

  // Once somebody rests on an image: its address, its values and where it lies.
  async function follow() {
    const shown = asked();
    shown.set("object", object());
    history.replaceState(history.state, "", `${location.pathname}?${shown}`);
    const now = uid(), frame = field("frame").value;
    const answer = await fetch(`/api/v1/instances/${now}/facts?frame=${frame}`).catch(() => null);
    if (now !== uid() || frame !== field("frame").value) return;
    const facts = answer?.ok ? await answer.json() : UNKNOWN;
    [center0, width0] = [facts.center, facts.width];
    if (!touched && field("center") && facts.center !== null) {
      field("center").value = facts.center;
      field("width").value = facts.width;
      name();
    }
    const values = form.querySelector("[data-values]");
    if (values) values.textContent = facts.low === null ? "–" : fill(said.span, { LOW: short(facts.low), HIGH: short(facts.high) });
    const place = [facts.location, facts.thickness_mm !== null ? fill(said.thickness, { NUMBER: short(facts.thickness_mm) }) : ""];
    form.querySelector("[data-place]").textContent = place.filter(Boolean).join(", ");
    form.querySelectorAll("[data-edge]").forEach((letter, index) => { letter.textContent = facts.edges[index] ?? ""; });
  }

  function load() {
    const now = wanted;
    if (img.getAttribute("src") === now) { unshown(""); return; }
    busy = true;
    screen.dataset.waiting = "";
    const done = () => {
      busy = false;
      if (wanted !== now) load();
      else delete screen.dataset.waiting;
    };
    const next = new Image();
    // What was loaded is itself shown: no browser keeps it, to be asked for again.
    next.onload = () => {
      for (const { name, value } of img.attributes) if (name !== "src") next.setAttribute(name, value);
      img.replaceWith(next);
      img = next;
      unshown("");
      done();
    };
    next.onerror = () => {
      if (now === wanted) explain(now);
      done();
    };
    next.src = now;
  }

  // The page names the image that was wanted: the one before must not stay in its place.
  function unshown(words) {
    img.hidden = words !== "";
    note.hidden = words === "";
    note.textContent = words;
    if (words) screen.setAttribute("aria-label", `${words} ${said.hint}`);
  }

  async function explain(missing) {
    unshown(said.unshown);
    const answer = await fetch("/api/v1/me").catch(() => null);
    if (answer?.ok || missing !== wanted || note.hidden) return;
    unshown(answer?.status === 401 ? texts.sessionEnded : said.unanswered);
  }

  function step(by) {
    if (frames() > 1 && steps.length === 1) {
      field("frame").value = Math.max(1, Math.min(frames(), Number(field("frame").value) + by));
    } else if (field("object").type === "range") {
      field("object").value = Math.max(1, Math.min(steps.length, object() + by));
    }
    show();
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); show(); });
  form.addEventListener("input", (event) => {
    if (["center", "width"].includes(event.target.name)) touched = true;
    show();
  });
  form.addEventListener("click", (event) => {
    const preset = event.target.closest("[data-window]");
    const reset = event.target.closest("[data-reset]");
    if (!preset && !reset) return;
    event.preventDefault();
    const [center, width] = preset ? preset.dataset.window.split(",") : [center0 ?? "", width0 ?? ""];
    touched = Boolean(preset);
    if (field("center")) { field("center").value = center; field("width").value = width; }
    if (reset && field("inverted")) field("inverted").checked = false;
    show();
  });
  screen.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "i") form.querySelector("#inverted")?.click();
    if (event.key === "r") form.querySelector("[data-reset]").click();
    const all = Math.max(steps.length, frames());
    const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -all, End: all }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  });
  screen.addEventListener("wheel", (event) => { event.preventDefault(); step(Math.sign(event.deltaY)); }, { passive: false });

  let drag = null;
  // Else the browser drags the picture itself, and no further pointer event comes.
  screen.addEventListener("dragstart", (event) => event.preventDefault());
  screen.addEventListener("pointerdown", (event) => {
    if (!field("center") || event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, center: number("center") ?? 0, width: number("width") ?? 1 };
    screen.setPointerCapture(event.pointerId);
  });
  screen.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const scale = Math.max(drag.width, 0.001) / 300;
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    if (Math.abs(dx) + Math.abs(dy) < 3 && !touched) return;
    touched = true;
    const digits = drag.width < 20 ? 3 : 0;
    field("width").value = Math.max(0.001, drag.width + dx * scale).toFixed(digits);
    field("center").value = (drag.center + dy * scale).toFixed(digits);
    show();
  });
  for (const name of ["pointerup", "pointercancel"]) screen.addEventListener(name, () => { drag = null; });
})();
