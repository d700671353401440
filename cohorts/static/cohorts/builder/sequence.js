// "Did one thing after another".
import { button, check, make, row } from "./dom.js";
import { eventNames, filters } from "./events.js";
import { durationControls, windowControls } from "./time.js";

const MOST_STEPS = 6;

export function sequence(form, of, path) {
  if (!Array.isArray(of.steps)) of.steps = [{ event: "" }, { event: "" }];
  const parts = of.steps.map((one, index) => step(form, of.steps, index, path));
  if (of.steps.length < MOST_STEPS) parts.push(row({}, button("Add step", `${path}/steps!add`, () => {
    of.steps.push({ event: "" });
    form.redraw(`${path}/steps/${of.steps.length - 1}/event/0`);
  })));
  const begun = windowControls(form, of, "window", `${path}/window`);
  return [...parts, within(form, of, path), row({ "data-path": `${path}/window` }, make("span", {}, "The first step:"), ...begun)];
}

function step(form, steps, index, path) {
  const one = steps[index];
  const at = `${path}/steps/${index}`;
  const head = row();
  if (index) head.append(check("must not happen", Boolean(one.absent), `${at}/absent`, (on) => {
    if (on) one.absent = true;
    else delete one.absent;
    form.changed();
  }));
  if (steps.length > 2) head.append(button("Remove step", `${at}!remove`, () => {
    steps.splice(index, 1);
    form.redraw(`${path}/steps!add`);
  }));
  const legend = make("legend", {}, index ? `${index + 1}. then` : "1. first");
  const parts = [eventNames(form, one, at), ...filters(form, one, at)];
  return make("fieldset", { class: "cs-node", "data-path": at }, legend, head, ...parts);
}

function within(form, of, path) {
  const line = row({ "data-path": `${path}/within` }, check("all within a time", "within" in of, `${path}!within`, (on) => {
    if (on) of.within = "7d";
    else delete of.within;
    form.redraw(`${path}!within`);
  }));
  if ("within" in of) line.append(...durationControls(form, of.within, `${path}/within`, (next) => { of.within = next; }));
  return line;
}
