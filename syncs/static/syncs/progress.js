// Keeps a run's page up to date while the run is open: asks for numbers, writes text, and loads the
// page once more when the run has ended or waits for a person.
"use strict";

const EVERY = 1000;
const SLOWEST = 15000;

function show(box, answer) {
  const label = box.querySelector("[data-progress-label]");
  label.textContent = answer.label;
  label.className = `cs-label cs-${answer.tone}`;
  const bar = box.querySelector("progress");
  bar.value = answer.percent;
  bar.textContent = `${answer.percent} %`;
  for (const [name, text] of Object.entries(answer.words)) {
    const place = box.querySelector(`[data-word="${name}"]`);
    if (place) {
      place.textContent = text;
    }
  }
}

async function poll(box, wait) {
  let next = EVERY;
  if (!document.hidden) {
    try {
      const response = await fetch(box.dataset.progressUrl, { headers: { Accept: "application/json" } });
      if (response.redirected || response.status === 403 || response.status === 404) {
        return;
      }
      const answer = await response.json();
      show(box, answer);
      if (!answer.open || answer.label !== box.dataset.label) {
        window.location.reload();
        return;
      }
    } catch {
      next = Math.min(wait * 2, SLOWEST);
    }
  }
  window.setTimeout(() => poll(box, next), next);
}

document.addEventListener("DOMContentLoaded", () => {
  const box = document.querySelector("[data-progress-url]");
  if (box) {
    window.setTimeout(() => poll(box, EVERY), EVERY);
  }
});
