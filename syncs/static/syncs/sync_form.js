// Beside the form of a new sync: whom it sends, when, and the first request, as the form is filled in now.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const panel = document.getElementById("sync-plan");
  const form = document.getElementById("sync_form");
  if (!panel || !form) return;
  let turn = 0;

  async function ask() {
    const mine = ++turn;
    try {
      const reply = await fetch(panel.dataset.url, { method: "POST", body: new FormData(form) });
      const text = await reply.text();
      if (reply.ok && mine === turn) panel.innerHTML = text;
    } catch {
      // The server will answer when something is changed again.
    }
  }

  let timer;
  const soon = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(ask, 200);
  };
  form.addEventListener("input", soon);
  // select2 tells of a choice by jQuery alone.
  window.django.jQuery(form).on("change", soon);
  ask();
});
