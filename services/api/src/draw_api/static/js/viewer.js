// Steps through the objects and frames of a series; drags change window and level.
(() => {
  "use strict";
  const form = document.querySelector("[data-viewer]");
  if (!form) return;
  const steps = JSON.parse(form.dataset.steps);
  const [center0, width0] = JSON.parse(form.dataset.suggested);
  let img = form.querySelector("[data-screen]");
  const screen = form.querySelector(".screen");
  const field = (name) => form.elements[name];
  const number = (name) => (field(name)?.value === "" || !field(name) ? null : Number(field(name).value));
  let touched = new URLSearchParams(location.search).has("center");
  let busy = false;
  let wanted = "";

  const object = () => Math.min(steps.length, Number(field("object").value) || 1);
  const frames = () => steps[object() - 1][1];

  function source() {
    const said = new URLSearchParams({ frame: field("frame").value });
    if (touched && number("center") !== null && number("width") !== null) {
      said.set("center", field("center").value);
      said.set("width", field("width").value);
    }
    if (field("inverted")?.checked) said.set("inverted", "true");
    return `/instances/${steps[object() - 1][0]}/picture?${said}`;
  }

  // One picture at a time: while one is on its way only the last wish is remembered.
  function show() {
    const frame = field("frame");
    frame.max = frames();
    if (Number(frame.value) > frames()) frame.value = frames();
    form.querySelector("[data-frames]").hidden = frames() === 1;
    const say = (name, text) => { const out = form.querySelector(`[data-for="${name}"]`); if (out) out.textContent = text; };
    say("object", `${object()} of ${steps.length}`);
    say("frame", `${frame.value} of ${frames()}`);
    form.querySelector("[data-overlay]").textContent =
      `${object()} / ${steps.length}` + (frames() > 1 ? `, frame ${frame.value} / ${frames()}` : "");
    screen.setAttribute("aria-label", `Image ${object()} of ${steps.length}, frame ${frame.value} of ${frames()}. Arrow keys step, drag changes the window.`);
    wanted = source();
    if (!busy) load();
  }

  function load() {
    const now = wanted;
    if (img.getAttribute("src") === now) return;
    busy = true;
    const done = () => { busy = false; if (wanted !== now) load(); };
    const next = new Image();
    // What was loaded is itself shown: no browser keeps it, to be asked for again.
    next.onload = () => {
      for (const { name, value } of img.attributes) if (name !== "src") next.setAttribute(name, value);
      img.replaceWith(next);
      img = next;
      done();
    };
    next.onerror = done;
    next.src = now;
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
    const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  });
  screen.addEventListener("wheel", (event) => { event.preventDefault(); step(Math.sign(event.deltaY)); }, { passive: false });

  let drag = null;
  screen.addEventListener("pointerdown", (event) => {
    if (!field("center")) return;
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
