// "Did one thing after another".
import { button, check, input, make, row } from "./dom.js";
import { eventNames, filters, firstEvent } from "./events.js";
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
  const same = input("all with the same property (empty: any)", of.same, `${path}/same`, (text) => {
    if (text) of.same = text;
    else delete of.same;
    form.changed();
  }, { list: form.names.properties(firstEvent(of.steps[0])) });
  const whole = [within(form, of, path), row({ "data-path": `${path}/same` }, same)];
  return [...parts, ...whole, row({ "data-path": `${path}/window` }, make("span", {}, "The first step:"), ...begun)];
}

function step(form, steps, index, path) {
  const one = steps[index];
  const at = `${path}/steps/${index}`;
  const head = row();
  if (index) head.append(check("must not happen", Boolean(one.absent), `${at}/absent`, (on) => {
    if (on) one.absent = true;
    else delete one.absent;
    if (on) delete one.within;
    form.redraw(`${at}/absent`);
  }));
  if (steps.length > 2) head.append(button("Remove step", `${at}!remove`, () => {
    steps.splice(index, 1);
    form.redraw(`${path}/steps!add`);
  }));
  const legend = make("legend", {}, index ? `${index + 1}. then` : "1. first");
  const parts = [eventNames(form, one, at), ...filters(form, one, at)];
  if (index && !one.absent) parts.push(soonAfter(form, one, at));
  return make("fieldset", { class: "cs-node", "data-path": at }, legend, head, ...parts);
}

function soonAfter(form, one, at) {
  const line = row({ "data-path": `${at}/within` }, check("soon after the step before", "within" in one, `${at}!within`, (on) => {
    if (on) one.within = "1d";
    else delete one.within;
    form.redraw(`${at}!within`);
  }));
  if ("within" in one) line.append(...durationControls(form, one.within, `${at}/within`, (next) => { one.within = next; }));
  return line;
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
