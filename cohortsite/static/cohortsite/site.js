// On every page: what a keyboard and a screen reader need and unfold's scripts leave out.
"use strict";

const FOCUSABLE = "a[href], button:not([disabled]), input:not([type=hidden]):not([disabled]), select, textarea, [tabindex='0']";

// --- names for what has none -------------------------------------------------------------------

function nameSelect(select) {
  const box = select.nextElementSibling;
  const combobox = box && box.querySelector("[role=combobox]");
  const shown = box && box.querySelector(".select2-selection__rendered");
  if (!combobox || !shown) return;
  const label = select.labels && select.labels[0];
  for (const one of [combobox, shown]) {
    // What is chosen is a name already.
    if (shown.textContent.trim()) one.removeAttribute("aria-label");
    else one.setAttribute("aria-label", label ? label.innerText.trim() : select.name);
  }
  const list = combobox.getAttribute("aria-owns");
  if (list) combobox.setAttribute("aria-controls", list);
  else combobox.removeAttribute("aria-controls");
}

function nameSearches() {
  document.querySelectorAll("select.select2-hidden-accessible").forEach(nameSelect);
  for (const search of document.querySelectorAll(".select2-search__field:not([aria-label])")) search.setAttribute("aria-label", "Search");
  for (const hint of document.querySelectorAll("span.help-tooltip[aria-label]")) hint.setAttribute("role", "img");
}

// Icons are words of a font: "play_arrow Run now" is read as "Run now". Who has no other name keeps the word.
function hideIcons() {
  for (const icon of document.querySelectorAll(".material-symbols-outlined")) {
    const owner = icon.closest("a, button, label, summary");
    const rest = owner ? owner.textContent.replace(icon.textContent, "").trim() || owner.title || owner.ariaLabel : "";
    if (rest) icon.setAttribute("aria-hidden", "true");
  }
}

// What unfold lets only a mouse press: its menus, its filters.
function letPress() {
  for (const one of document.querySelectorAll("[x-on\\:click]:not(#changelist-filter-close)")) {
    if (one.matches(FOCUSABLE) || one.querySelector(FOCUSABLE)) continue;
    one.setAttribute("role", "button");
    one.tabIndex = 0;
    const does = one.getAttribute("x-on:click");
    if (does.startsWith("sidebar")) one.setAttribute("aria-label", "Menu");
    if (does.startsWith("showPassword")) one.setAttribute("aria-label", "Show or hide what is typed");
    one.addEventListener("keydown", (event) => {
      if (!["Enter", " "].includes(event.key)) return;
      event.preventDefault();
      one.click();
    });
  }
}

// A link to a field opens what it is folded into, and puts the cursor there.
function followErrors() {
  for (const link of document.querySelectorAll(".cs-errors a")) {
    link.addEventListener("click", (event) => {
      const field = document.getElementById(link.hash.slice(1));
      if (!field) return;
      event.preventDefault();
      const fold = field.closest("details");
      if (fold) fold.open = true;
      // A field that a form of its own stands for (the builder) is not seen itself.
      const seen = field.offsetParent ? field : field.closest(".field-row, .form-row, fieldset") || field;
      seen.scrollIntoView({ block: "center" });
      (seen.matches(FOCUSABLE) ? seen : seen.querySelector(FOCUSABLE) || seen).focus();
    });
  }
}

// Past the menu, to what the page is about.
function letSkip() {
  const main = document.getElementById("main");
  if (!main) return;
  main.setAttribute("role", "main");
  main.tabIndex = -1;
  const link = document.createElement("a");
  link.href = "#main";
  link.className = "cs-skip";
  link.textContent = "To the content";
  document.body.prepend(link);
}

// What a word means goes away by Escape, without leaving the word.
function hushTerms() {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const term of document.querySelectorAll(".cs-term:hover, .cs-term:focus")) {
      term.classList.add("cs-hushed");
      for (const end of ["blur", "mouseleave"]) term.addEventListener(end, () => term.classList.remove("cs-hushed"), { once: true });
    }
  });
}

// A browser may leave out `autofocus`, as Chromium does on a page that is drawn late.
function focusFirst() {
  const first = document.querySelector("[autofocus]");
  if (first && document.activeElement === document.body) first.focus();
}

document.addEventListener("DOMContentLoaded", () => {
  letSkip();
  hushTerms();
  hideIcons();
  followErrors();
  letPress();
});
window.addEventListener("load", () => {
  // After the scripts that make these on the same event.
  window.setTimeout(nameSearches);
  focusFirst();
  // Its own search field is made when a select is opened.
  if (window.django && window.django.jQuery) window.django.jQuery(document).on("select2:open select2:close change", () => window.setTimeout(nameSearches));
});
