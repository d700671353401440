// The problems of a definition, each beside the field that it is about.
import { longestLeading } from "./definition.js";
import { make } from "./dom.js";

let numbers = 0;

export function clearProblems(body) {
  for (const old of body.querySelectorAll(".cs-problem, .cs-hint")) old.remove();
  for (const one of body.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
}

// Put a problem where the longest path leads to it; false when there is no such part of the form.
// What a person has not come to yet (`touched`: the controls that they have) is asked for, and is no error.
export function placeProblem(body, pointer, message, touched) {
  const box = leading(body, "path", pointer);
  if (!box) return false;
  const id = `cs-problem-${++numbers}`;
  const control = leading(body, "at", pointer);
  const first = control && box.contains(control) ? control : box.querySelector("input:not([type=checkbox])");
  const hint = touched && hintOf(pointer, box, first, touched);
  const said = make("p", { class: hint ? "cs-hint" : "cs-problem", id }, hint || message);
  if (box.classList.contains("cs-row")) box.after(said);
  else box.append(said);
  if (first) {
    if (!hint) first.setAttribute("aria-invalid", "true");
    first.setAttribute("aria-describedby", id);
  }
  return true;
}

function hintOf(pointer, box, control, touched) {
  if (/\/(all|any)$/.test(pointer) && !box.querySelector(".cs-node")) return "Add a condition.";
  return control && control.value === "" && !touched.has(control.dataset.at) ? "Still to fill in." : "";
}

function leading(body, name, pointer) {
  const all = [...body.querySelectorAll(`[data-${name}]`)];
  const path = longestLeading(all.map((one) => one.dataset[name]), pointer);
  return all.find((one) => one.dataset[name] === path);
}

export function listed(problems) {
  return problems.map(([pointer, message]) => make("li", {}, pointer ? `${pointer}: ${message}` : message));
}
