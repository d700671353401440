// Asks how far an upload is every second ({open, percent, words}), and loads the page again when that is over.
"use strict";

const box = document.getElementById("upload-state");
const words = document.getElementById("upload-words");

async function ask() {
  try {
    const reply = await fetch(box.dataset.url, { headers: { Accept: "application/json" } });
    if (!reply.ok) throw new Error(reply.status);
    const upload = await reply.json();
    if (!upload.open) return window.location.reload();
    document.getElementById("upload-bar").value = upload.percent;
    words.textContent = upload.words;
  } catch {
    words.textContent = "The server does not answer. Trying again…";
  }
  window.setTimeout(ask, 1000);
}

window.setTimeout(ask, 1000);
