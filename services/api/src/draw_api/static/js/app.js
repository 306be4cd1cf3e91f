// Makes the pages nicer; every page works without it.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const AUTO = "draw.auto-refresh";

  const two = (n) => String(n).padStart(2, "0");
  const local = (at) =>
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;

  function showTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(time.getAttribute("datetime"));
      if (Number.isNaN(at.valueOf())) continue;
      time.title = time.textContent;
      time.textContent = local(at);
    }
  }

  // Changes only what differs, so that nothing jumps, no focus is lost and nothing closes.
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.hasAttribute("data-keep") || old === document.activeElement && "value" in old) return;
    const stays = old.nodeName === "DETAILS" ? "open" : "";
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== stays) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && name !== stays) old.setAttribute(name, value);
    }
    if (old.nodeName === "PROGRESS") old.value = fresh.value;
    morphChildren(old, fresh);
  }

  const says = (node) => node.nodeType !== Node.TEXT_NODE || node.nodeValue.trim() !== "";

  function morphChildren(old, fresh) {
    const before = [...old.childNodes].filter(says);
    const after = [...fresh.childNodes].filter(says);
    after.forEach((node, i) => (before[i] ? morph(before[i], node) : old.append(node)));
    before.slice(after.length).forEach((node) => node.remove());
  }

  // What can be scrolled must be reachable with the keyboard, and nothing else.
  function letScroll() {
    for (const box of document.querySelectorAll(".scroll")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  const automatic = () => localStorage.getItem(AUTO) !== "off";
  let sources = [];

  function dots(on) {
    for (const dot of document.querySelectorAll("[data-live-dot]")) dot.classList.toggle("on", on);
  }

  function watch() {
    for (const source of sources) source.close();
    sources = [];
    dots(false);
    if (!automatic() || document.hidden) return;
    for (const place of document.querySelectorAll("[data-live]")) {
      const source = new EventSource(place.dataset.live);
      source.onopen = () => dots(true);
      source.onerror = () => dots(false);
      source.onmessage = (event) => {
        const held = document.createElement("template");
        held.innerHTML = event.data;
        showTimes(held.content);
        morphChildren(place, held.content);
        window.htmx?.process(place);
        letScroll();
        if (place.querySelector("[data-live-end]")) source.close();
      };
      sources.push(source);
    }
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    event.preventDefault();
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1200);
  });

  document.addEventListener("change", (event) => {
    const target = event.target;
    if (target.matches("[data-live-switch]")) {
      localStorage.setItem(AUTO, target.checked ? "on" : "off");
      watch();
    }
    if (target.matches("[data-select-all]")) {
      for (const box of target.closest("form").querySelectorAll("[data-select]")) box.checked = target.checked;
    }
    if (target.matches("[data-select-all], [data-select]")) countSelected(target.closest("form"));
    if (target.matches("[data-range]")) fillRange(target);
    if (target.matches("[data-submit]")) target.form.requestSubmit();
  });

  function countSelected(form) {
    const chosen = form.querySelectorAll("[data-select]:checked").length;
    for (const place of form.querySelectorAll("[data-selected]")) place.textContent = chosen ? `${chosen} selected` : "";
  }

  // A date range in DICOM's form from two date pickers.
  function fillRange(picker) {
    const box = picker.closest("[data-range-box]");
    const [from, to] = [...box.querySelectorAll("[data-range]")].map((p) => p.value.replaceAll("-", ""));
    const goal = document.getElementById(box.dataset.rangeBox);
    goal.value = from || to ? (from === to ? from : `${from}-${to}`) : "";
  }

  document.addEventListener("input", (event) => {
    const box = event.target.closest("[data-filter]");
    if (!box) return;
    const words = box.value.toLowerCase();
    for (const row of document.querySelectorAll(`${box.dataset.filter} tbody tr`)) {
      row.hidden = words !== "" && !row.textContent.toLowerCase().includes(words);
    }
  });

  document.addEventListener("htmx:afterSwap", (event) => { showTimes(event.target); letScroll(); });
  document.addEventListener("visibilitychange", watch);
  window.addEventListener("pagehide", () => sources.forEach((source) => source.close()));

  for (const box of document.querySelectorAll("[data-live-switch]")) box.checked = automatic();
  showTimes(document);
  letScroll();
  new ResizeObserver(letScroll).observe(document.body);
  watch();
  window.drawAutomatic = automatic;
})();
