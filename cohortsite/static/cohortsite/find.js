// The field in the sidebar: what is found stands below it as one types; arrows go through it, Escape comes back.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const box = document.querySelector("[data-find]");
  if (!box) return;
  const field = box.querySelector("input");
  const found = box.querySelector("[data-found]");
  let turn = 0;
  let timer;

  async function ask() {
    const mine = ++turn;
    const typed = field.value.trim();
    if (!typed) {
      found.replaceChildren();
      return;
    }
    try {
      const reply = await fetch(`${box.dataset.find}?${new URLSearchParams({ s: typed, part: "1" })}`);
      const text = await reply.text();
      if (reply.ok && mine === turn) found.innerHTML = text;
    } catch {
      // The server will answer when something more is typed.
    }
  }

  field.addEventListener("input", () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(ask, 150);
  });
  box.addEventListener("keydown", (event) => {
    const stops = [field, ...found.querySelectorAll("a")];
    const at = stops.indexOf(document.activeElement);
    if (event.key === "Escape") {
      field.value = "";
      found.replaceChildren();
      field.focus();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = at + (event.key === "ArrowDown" ? 1 : -1);
      stops[Math.min(Math.max(next, 0), stops.length - 1)].focus();
    }
  });
  box.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !box.contains(event.relatedTarget)) found.replaceChildren();
  });
  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key !== "t" || busy || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    field.focus();
  });
});
