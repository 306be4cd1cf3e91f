// Makes the pages nicer; every page works without it.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const AUTO = "draw.auto-refresh";

  const language = document.documentElement.lang;
  // The page's texts in the visitor's language; values stand in capitals.
  const texts = document.getElementById("texts").dataset;

  const two = (n) => String(n).padStart(2, "0");
  const local = (at) =>
    language === "en" ? sortable(at) : at.toLocaleString(language, { dateStyle: "medium", timeStyle: "medium" });
  const sortable = (at) =>
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;

  function showTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(time.getAttribute("datetime"));
      if (Number.isNaN(at.valueOf())) continue;
      time.title = "ago" in time.dataset ? local(at) : time.textContent;
      time.textContent = "ago" in time.dataset ? ago(at) : local(at);
    }
  }

  const since = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  const SPANS = [["day", 86400], ["hour", 3600], ["minute", 60]];

  function ago(at) {
    const seconds = Math.round((at - Date.now()) / 1000);
    const [unit, length] = SPANS.find(([, one]) => Math.abs(seconds) >= one) ?? ["second", 1];
    return since.format(unit === "second" && seconds > -10 ? 0 : Math.trunc(seconds / length), unit);
  }

  setInterval(() => {
    for (const time of document.querySelectorAll("time[data-ago][title]")) {
      const said = ago(new Date(time.getAttribute("datetime")));
      if (time.textContent !== said) time.textContent = said;
    }
  }, 5000);

  // Moments are typed in the browser's zone and sent in UTC; without this script they are UTC.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "this computer's zone";

  function typeLocally(root) {
    for (const shown of root.querySelectorAll('input[type="datetime-local"][name]')) {
      const sent = document.createElement("input");
      sent.type = "hidden";
      sent.name = shown.name;
      sent.dataset.keep = "";
      shown.removeAttribute("name");
      shown.dataset.zoned = sent.name;
      shown.after(sent);
      const label = root.querySelector(`label[for="${shown.id}"]`);
      if (label) label.textContent = label.textContent.replace("UTC", zone);
      if (shown.value) {
        const at = new Date(`${shown.value}Z`);
        sent.value = at.toISOString();
        shown.value = sortable(at).slice(0, 16).replace(" ", "T");
      }
    }
  }

  for (const kind of ["input", "change"]) {
    // In the capturing phase: what is sent is right before anybody sends it.
    document.addEventListener(kind, ({ target }) => {
      if (!target.dataset?.zoned) return;
      const at = new Date(target.value);
      target.nextElementSibling.value = Number.isNaN(at.valueOf()) ? "" : at.toISOString();
    }, true);
  }

  // A row that names itself, a form that goes elsewhere, a box that stands for something else.
  const isAnother = (old, fresh) =>
    old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id ||
    old.nodeName === "FORM" && old.getAttribute("action") !== fresh.getAttribute("action") ||
    old.matches?.("[type=checkbox], [type=radio]") && old.getAttribute("value") !== fresh.getAttribute("value");

  // Changes only what differs, so that nothing jumps, no focus is lost and nothing closes.
  // What is ticked, typed or about to be sent never becomes that of another row.
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (isAnother(old, fresh)) {
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

  // What has an id stays the same node wherever it goes, so that what is open stays open.
  function morphChildren(old, fresh) {
    const before = [...old.childNodes].filter(says);
    const after = [...fresh.childNodes].filter(says);
    const known = new Map(before.filter((node) => node.id).map((node) => [node.id, node]));
    after.forEach((node, i) => {
      const same = known.get(node.id);
      if (same && before[i] !== same) {
        old.insertBefore(same, before[i] ?? null);
        before.splice(before.indexOf(same), 1);
        before.splice(i, 0, same);
      } else if (node.id && !same) {
        old.insertBefore(node, before[i] ?? null);
        before.splice(i, 0, node);
        return;
      }
      if (before[i]) morph(before[i], node);
      else old.append(node);
    });
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
  const FIRST_RETRY = 1000;
  const LAST_RETRY = 30000;
  let sources = [];
  let retries = [];

  function dots(on) {
    for (const dot of document.querySelectorAll("[data-live-dot]")) dot.classList.toggle("on", on);
  }

  function watch() {
    for (const source of sources) source.close();
    for (const retry of retries) clearTimeout(retry);
    sources = [];
    retries = [];
    dots(false);
    if (!automatic() || document.hidden) return;
    for (const place of document.querySelectorAll("[data-live]")) follow(place, FIRST_RETRY, new Date());
  }

  // A stream that ends is opened again, later and later; meanwhile the page says how old it is.
  function follow(place, wait, heard) {
    const address = new URL(place.dataset.live, location);
    // Of a day that is the visitor's.
    if ("liveZone" in place.dataset) address.searchParams.set("zone", zone);
    const source = new EventSource(address);
    let ended = false;
    sources.push(source);
    source.onopen = () => { dots(true); };
    source.onmessage = (event) => {
      wait = FIRST_RETRY;
      heard = new Date();
      stale(place, "");
      const held = document.createElement("template");
      held.innerHTML = event.data;
      showTimes(held.content);
      typeLocally(held.content);
      morphChildren(place, held.content);
      window.htmx?.process(place);
      letScroll();
      if (place.querySelector("[data-live-end]")) { ended = true; source.close(); }
    };
    source.onerror = async () => {
      source.close();
      dots(false);
      if (ended) return;
      ended = true;
      if (await signedOut()) return stale(place, "", true);
      if (new Date() - heard > 5000) stale(place, texts.noNews.replace("TIME", heard.toLocaleTimeString(language === "en" ? "en-GB" : language)));
      retries.push(setTimeout(() => follow(place, Math.min(2 * wait, LAST_RETRY), heard), wait));
    };
    source.addEventListener("unavailable", source.onerror);
  }

  const signInAddress = () => `/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;

  // A server that takes longer than this is one that does not answer.
  const PATIENCE = 10000;
  function askWhoIsSignedIn() {
    const patience = new AbortController();
    setTimeout(() => patience.abort(), PATIENCE);
    return fetch("/api/v1/me", { signal: patience.signal }).catch(() => null);
  }

  // Whether the session has ended; a server that does not answer has not said so.
  async function signedOut() {
    const answer = await askWhoIsSignedIn();
    return answer?.status === 401;
  }

  function stale(place, words, ended = false) {
    let note = document.querySelector("[data-stale]");
    if (!words && !ended) { note?.remove(); return; }
    if (!note) {
      note = document.createElement("div");
      note.className = "notice warn";
      note.dataset.stale = "";
      note.setAttribute("role", "status");
      place.before(note);
    }
    note.replaceChildren(ended ? sessionEnded(texts.toSeeNews) : paragraph(words));
  }

  function paragraph(words) {
    const made = document.createElement("p");
    made.textContent = words;
    return made;
  }

  function sessionEnded(why, target = "") {
    const made = paragraph(`${texts.sessionEnded} `);
    const link = document.createElement("a");
    link.href = signInAddress();
    link.textContent = texts.signInAgain;
    link.target = target;
    made.append(link, ` ${why}`);
    return made;
  }

  // Before a form is sent: is the session still there, and is this its token? A page may be older
  // than the session of its browser. What was typed stays in any case. A double click sends once.
  const SENT_ONCE = 10000;
  const DOWNLOADED_ONCE = 1000;
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    for (const field of form.querySelectorAll("[data-here]")) field.value = location.pathname + location.search;
    const token = form.querySelector('input[name="csrf_token"]');
    if (!token || event.defaultPrevented || form.dataset.sending === "checked") return;
    event.preventDefault();
    if (form.dataset.sending) return;
    form.dataset.sending = "asking";
    const submitter = event.submitter;
    const answer = await askWhoIsSignedIn();
    if (!answer?.ok) {
      const note = form.querySelector("[data-unsent]") ?? document.createElement("div");
      note.className = "notice bad";
      note.dataset.unsent = "";
      note.setAttribute("role", "alert");
      note.replaceChildren(
        answer?.status === 401
          ? sessionEnded(texts.thenSend, "_blank")
          : paragraph(texts.notSent),
      );
      form.prepend(note);
      delete form.dataset.sending;
      return;
    }
    const me = await answer.json();
    // Who else has signed in meanwhile is shown the entries first, by the answer to an old token.
    if (me.name === document.body.dataset.user) token.value = me.csrf_token;
    form.querySelector("[data-unsent]")?.remove();
    form.dataset.sending = "checked";
    form.requestSubmit(submitter);
    form.dataset.sending = "sent";
    // A download leaves the page as it is, and so does who stops the browser.
    const once = submitter && "download" in submitter.dataset ? DOWNLOADED_ONCE : SENT_ONCE;
    setTimeout(() => { delete form.dataset.sending; }, once);
  });

  // After "Back" the page is as it was left: boxes are ticked, forms may be sent again.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("[data-sending]")) delete form.dataset.sending;
    for (const form of document.querySelectorAll("form:has([data-selected])")) countSelected(form);
  });

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
    const boxes = [...form.querySelectorAll("[data-select]:checked")];
    const number = boxes.length.toLocaleString(language);
    const bytes = boxes.reduce((sum, box) => sum + Number(box.dataset.size ?? 0), 0);
    let said = boxes.length ? texts.numberSelected.replace("NUMBER", number) : "";
    if (said && bytes) said = texts.sizeSelected.replace("NUMBER", number).replace("SIZE", bytesOf(bytes));
    for (const place of form.querySelectorAll("[data-selected]")) place.textContent = said;
  }

  // As the server writes sizes: in powers of 1000.
  function bytesOf(number) {
    const units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let unit = 0;
    while (Math.abs(number) >= 1000 && unit < units.length - 1) { number /= 1000; unit += 1; }
    const digits = unit === 0 || number >= 100 ? 0 : 1;
    return `${number.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits })}\u00a0${units[unit]}`;
  }

  // In a work list j and k go from row to row, and a space ticks the row; Enter follows its link.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input:not([type=checkbox]), textarea, select, button, summary");
    const list = document.querySelector("[data-rows]");
    if (typing || !list) return;
    const row = event.target.closest("[data-rows] tbody tr");
    if (event.key === "j" || event.key === "k") {
      const rows = [...list.querySelectorAll("tbody tr")];
      const at = row ? rows.indexOf(row) + (event.key === "j" ? 1 : -1) : 0;
      rows[Math.min(rows.length - 1, Math.max(0, at))]?.querySelector("th a")?.focus();
    } else if (event.key === " " && row && event.target.matches("a")) {
      const box = row.querySelector("[data-select]");
      if (!box) return;
      event.preventDefault();
      box.click();
    }
  });

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

  // A key such as "/" leads to the field that names it, unless somebody types.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const field = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  });

  // "Today" begins at the browser's midnight.
  function beginToday(root) {
    for (const link of root.querySelectorAll("[data-today]")) {
      const target = new URL(link.href);
      target.searchParams.set("since", new Date(new Date().setHours(0, 0, 0, 0)).toISOString());
      link.href = target;
    }
  }

  document.addEventListener("htmx:afterSwap", (event) => {
    showTimes(event.target);
    typeLocally(event.target);
    beginToday(event.target);
    letScroll();
    if (event.target.querySelector("[data-live]")) watch();
  });

  // Rows that answer other words than those typed must not stay.
  for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failure, ({ detail }) => {
      const answer = document.createElement("template");
      answer.innerHTML = detail.xhr?.status ? detail.xhr.responseText.trim() : "";
      let note = answer.content.firstElementChild;
      if (!note?.matches(".notice")) {
        note = document.createElement("div");
        note.className = "notice bad";
        note.setAttribute("role", "alert");
        note.append(paragraph(texts.noAnswer));
      }
      if (detail.target.hasAttribute("data-keep")) detail.target.prepend(note);
      else detail.target.replaceChildren(note);
    });
  }
  document.addEventListener("visibilitychange", watch);
  window.addEventListener("pagehide", () => sources.forEach((source) => source.close()));

  // The state of a guided page is in its address, so that loading it again loses none.
  const stated = document.querySelector("[data-address]");
  if (stated && !location.search) history.replaceState(history.state, "", stated.dataset.address);
  document.addEventListener("focusin", ({ target }) => {
    if (target.dataset?.chooses) document.getElementById(target.dataset.chooses).checked = true;
  });

  for (const box of document.querySelectorAll("[data-live-switch]")) box.checked = automatic();
  for (const place of document.querySelectorAll("[data-zone]")) place.textContent = place.dataset.zone.replace("ZONE", zone);
  for (const field of document.querySelectorAll("[data-zone-name]")) field.value = zone;
  showTimes(document);
  typeLocally(document);
  beginToday(document);
  letScroll();
  new ResizeObserver(letScroll).observe(document.body);
  watch();
  window.drawAutomatic = automatic;
})();
