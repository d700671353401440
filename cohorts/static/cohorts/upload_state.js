// Asks for the state of an upload every second, and loads the page again when it has ended.
"use strict";

const box = document.getElementById("upload-state");

async function ask() {
  try {
    const reply = await fetch(box.dataset.url, { headers: { Accept: "application/json" } });
    if (!reply.ok) throw new Error(reply.status);
    const upload = await reply.json();
    if (!upload.open) return window.location.reload();
    const bar = document.getElementById("upload-bar");
    bar.value = upload.percent;
    document.getElementById("upload-words").textContent = `${upload.state}, ${upload.percent} %`;
  } catch {
    document.getElementById("upload-words").textContent = "The server does not answer. Trying again…";
  }
  window.setTimeout(ask, 1000);
}

if (box) window.setTimeout(ask, 1000);
