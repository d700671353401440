// "Did one event more than another", and a random sample.
import { input, make, row } from "./dom.js";
import { eventNames, filters } from "./events.js";
import { windowControls } from "./time.js";

export function more(form, of, path) {
  const times = numberInput(form, "times as often", of.times ?? 1, `${path}/times`, (value) => {
    if (value === 1) delete of.times;
    else of.times = value;
  });
  return [
    counted(form, of, "first", "Did", path),
    row({ "data-path": `${path}/times` }, make("span", {}, "more than"), times),
    counted(form, of, "than", "than", path),
  ];
}

function counted(form, of, key, legend, path) {
  if (!of[key] || typeof of[key] !== "object") of[key] = { event: "" };
  const at = `${path}/${key}`;
  const when = row({ "data-path": `${at}/window` }, ...windowControls(form, of[key], "window", `${at}/window`));
  const parts = [eventNames(form, of[key], at), ...filters(form, of[key], at), when];
  return make("fieldset", { class: "cs-node", "data-path": at }, make("legend", {}, legend), ...parts);
}

export function sample(form, of, path) {
  const percent = numberInput(form, "percent of all users", of.percent, `${path}/percent`, (value) => { of.percent = value; });
  const salt = input("Name of the draw", of.salt, `${path}/salt`, (text) => {
    of.salt = text;
    form.changed();
  });
  return [row({ "data-path": path }, percent, salt)];
}

function numberInput(form, label, value, at, put) {
  return input(label, value, at, (text) => {
    put(text === "" ? null : Number(text));
    form.changed();
  }, { type: "number", step: "any", class: "cs-short" });
}
