// Finds settings by their label and help; what is folded away opens while it matches.
(() => {
  "use strict";
  const place = document.querySelector("[data-settings]");
  if (!place) return;
  const field = place.querySelector("[data-find]");
  const found = place.querySelector("[data-found]");
  const sections = [...place.querySelectorAll("section[id]")];
  const folded = [...place.querySelectorAll("details.advanced")];
  const open = new Map();

  function find() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !open.size) folded.forEach((one) => open.set(one, one.open));
    let number = 0;
    for (const setting of place.querySelectorAll(".setting")) {
      const name = setting.querySelector("[name]")?.name ?? "";
      const text = `${setting.textContent} ${name.replaceAll("_", " ")}`.toLowerCase();
      setting.hidden = !words.every((word) => text.includes(word));
      number += !setting.hidden;
    }
    for (const section of sections) {
      const none = !section.querySelector(".setting:not([hidden])");
      section.hidden = none;
      place.querySelector(`a[href="#${section.id}"]`).parentElement.hidden = none;
    }
    for (const one of folded) {
      const some = one.querySelector(".setting:not([hidden])") !== null;
      one.hidden = !some;
      one.open = words.length ? some : (open.get(one) ?? one.open);
    }
    if (!words.length) open.clear();
    found.textContent = words.length && !number ? found.dataset.none : "";
  }

  field.addEventListener("input", find);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { field.value = ""; find(); }
  });
  // A value that the browser does not accept may be folded away.
  place.addEventListener("invalid", (event) => {
    const around = event.target.closest("details");
    if (around) around.open = true;
    if (field.value) { field.value = ""; find(); }
  }, true);
  place.querySelector(".has-error")?.scrollIntoView({ block: "center" });
})();
