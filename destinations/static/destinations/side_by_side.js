// Below the form of a destination: what its fields, as they stand now, make of one user.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const panel = document.getElementById("side-by-side");
  const form = document.getElementById("destination_form");
  if (!panel || !form) return;
  const shown = panel.querySelector("[data-shown]");
  let turn = 0;

  async function ask() {
    const mine = ++turn;
    const body = new FormData(form);
    for (const input of panel.querySelectorAll("input")) body.append(input.name, input.value);
    body.append("side_by_side_of", panel.dataset.of);
    try {
      const reply = await fetch(panel.dataset.url, { method: "POST", body });
      const text = await reply.text();
      if (reply.ok && mine === turn) shown.innerHTML = text;
    } catch {
      // The server will answer when something is changed again.
    }
  }

  let timer;
  const soon = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(ask, 250);
  };
  form.addEventListener("input", soon);
  form.addEventListener("change", soon);
  panel.addEventListener("input", soon);
  ask();
});
