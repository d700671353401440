// "Did one event more than another", and a random sample.
import { details } from "./details.js";
import { input, number, part, word } from "./dom.js";
import { eventNames, filters, orEvent } from "./events.js";
import { windowControls } from "./time.js";

export function more(form, of, path) {
  const times = number(form, "times as often", of.times ?? 1, `${path}/times`, (value) => {
    if (value === 1) delete of.times;
    else of.times = value;
  });
  return [
    ...counted(form, of, "first", "the one event", path),
    part({ class: "cs-part cs-below", "data-path": `${path}/times` }, word("more than"), times, word("times as often as")),
    ...counted(form, of, "than", "the other event", path),
  ];
}

function counted(form, of, key, name, path) {
  if (!of[key] || typeof of[key] !== "object") of[key] = { event: "" };
  const at = `${path}/${key}`;
  const when = part({ "data-path": `${at}/window` }, ...windowControls(form, of[key], "window", `${at}/window`));
  const [toggle, shown] = details(form, of[key], at, false, name, () => [orEvent(form, of[key], at)]);
  return [part({ role: "group", "aria-label": name, "data-path": at }, eventNames(form, of[key], at), when, ...filters(form, of[key], at), toggle), shown];
}

export function sample(form, of, path) {
  const percent = number(form, "percent of all users", of.percent, `${path}/percent`, (value) => { of.percent = value; });
  const salt = input("Name of the draw", of.salt, `${path}/salt`, (text) => {
    of.salt = text;
    form.changed();
  }, { placeholder: "name of the draw" });
  return [part({ "data-path": path }, percent, word("% of all users, drawn as"), salt)];
}
