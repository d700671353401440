// The problems of a definition, each beside the field that it is about.
import { longestLeading } from "./definition.js";
import { make } from "./dom.js";

let numbers = 0;

export function clearProblems(body) {
  for (const old of body.querySelectorAll(".cs-problem, .cs-hint")) old.remove();
  for (const one of body.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
  for (const one of body.querySelectorAll("[aria-describedby]")) one.removeAttribute("aria-describedby");
}

// Put a problem where the longest path leads to it; false when there is no such part of the form.
// What is still empty is asked for, and is no error until somebody tried to save it (`strict`).
export function placeProblem(body, pointer, message, strict) {
  const box = leading(body, "path", pointer);
  if (!box) return false;
  const control = leading(body, "at", pointer);
  const first = control && box.contains(control) ? control : box.querySelector("input:not([type=checkbox])");
  const hint = strict ? "" : hintOf(pointer, box, first);
  const said = hint ? hinted(box, hint) : make("p", { class: "cs-problem", id: `cs-problem-${++numbers}` }, message);
  if (!said.isConnected) put(box, said);
  if (first) {
    if (!hint) first.setAttribute("aria-invalid", "true");
    first.setAttribute("aria-describedby", said.id);
  }
  return true;
}

// One hint is enough for a line.
function hinted(box, text) {
  const line = lineOf(box);
  const there = [...line.children].find((one) => one.className === "cs-hint" && one.textContent === text);
  return there || make("p", { class: "cs-hint", id: `cs-problem-${++numbers}` }, text);
}

function lineOf(box) {
  return box.closest(".cs-step, .cs-line, .cs-group, .cs-tree") || box;
}

function put(box, said) {
  if (box.classList.contains("cs-row")) box.after(said);
  else lineOf(box).append(said);
}

function hintOf(pointer, box, control) {
  if (/\/(all|any)$/.test(pointer) && !box.querySelector(".cs-node")) return "Add a condition.";
  return control && control.value === "" && control.validity.valid ? "Still to fill in." : "";
}

function leading(body, name, pointer) {
  const all = [...body.querySelectorAll(`[data-${name}]`)];
  const path = longestLeading(all.map((one) => one.dataset[name]), pointer);
  return all.find((one) => one.dataset[name] === path);
}

export function listed(problems) {
  return problems.map(([pointer, message]) => make("li", {}, pointer ? `${pointer}: ${message}` : message));
}
