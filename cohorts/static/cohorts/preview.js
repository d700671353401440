// Shows a preview in an element with data-url, and asks again every half second until it has ended.
"use strict";

async function followPreview(box) {
  const url = box.dataset.url;
  try {
    const reply = await fetch(url);
    if (!reply.ok) throw new Error(reply.status);
    const text = await reply.text();
    if (box.dataset.url !== url) return; // a newer one was asked for
    const open = text.includes("data-open");
    // What waits is shown once, so that a screen reader does not repeat it.
    if (!open || !box.querySelector("[data-open]")) box.innerHTML = text;
    const offered = box.querySelector("[data-as-of]");
    if (offered && box.previewAsOf) { // in the form; a preview's own page has nothing to calculate again
      offered.parentElement.hidden = false;
      offered.addEventListener("click", () => box.previewAsOf(offered.dataset.asOf));
    }
    if (!open) return;
  } catch {
    // The server will answer again.
  }
  if (box.dataset.url === url) window.setTimeout(followPreview, 500, box);
}

const previewBox = document.getElementById("preview");
if (previewBox && previewBox.dataset.url) followPreview(previewBox);
