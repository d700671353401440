// "Did one thing after another".
import { details } from "./details.js";
import { button, check, choice, input, make, part, word } from "./dom.js";
import { eventNames, filters, firstEvent, orEvent } from "./events.js";
import { durationControls, windowControls } from "./time.js";

const MOST_STEPS = 6;

export function sequence(form, of, path) {
  if (!Array.isArray(of.steps)) of.steps = [{ event: "" }, { event: "" }];
  const parts = of.steps.map((_, index) => step(form, of.steps, index, path));
  const add = of.steps.length < MOST_STEPS ? button("Add step", `${path}/steps!add`, () => {
    of.steps.push({ event: "" });
    form.redraw(`${path}/steps/${of.steps.length - 1}/event/0`);
  }) : null;
  const used = "within" in of || "same" in of || "window" in of;
  const [toggle, more] = details(form, of, path, used, "the whole", () => whole(form, of, path));
  return [...parts, part({ class: "cs-part cs-below" }, add, toggle), more];
}

function whole(form, of, path) {
  const same = input("all with the same property (empty: any)", of.same, `${path}/same`, (text) => {
    if (text) of.same = text;
    else delete of.same;
    form.changed();
  }, { placeholder: "any", onfocus: (event) => event.target.setAttribute("list", form.names.properties(firstEvent(of.steps[0]))) });
  const begun = windowControls(form, of, "window", `${path}/window`);
  return [
    soon(form, of, path, "all within a time", "7d"),
    part({ "data-path": `${path}/same` }, word("all with the same property"), same),
    part({ "data-path": `${path}/window` }, word("the first step"), ...begun),
  ];
}

function step(form, steps, index, path) {
  const one = steps[index];
  const at = `${path}/steps/${index}`;
  const name = `step ${index + 1}`;
  const parts = [index ? thenOrNot(form, one, at, name) : word("first"), eventNames(form, one, at), ...filters(form, one, at)];
  parts.push(...details(form, one, at, "within" in one, name, () => {
    const shown = [orEvent(form, one, at)];
    if (index && !one.absent) shown.push(soon(form, one, at, "soon after the step before", "1d"));
    return shown;
  }));
  if (steps.length > 2) parts.push(button("×", `${at}!remove`, () => {
    steps.splice(index, 1);
    form.redraw(`${path}/steps!add`);
  }, `Remove ${name}`));
  return make("div", { class: "cs-step", role: "group", "aria-label": name, "data-path": at }, ...parts);
}

function thenOrNot(form, one, at, name) {
  return choice(`What happens at ${name}`, { then: "then", not: "then not" }, one.absent ? "not" : "then", `${at}/absent`, (next) => {
    delete one.absent;
    if (next === "not") {
      one.absent = true;
      delete one.within;
    }
    form.redraw(`${at}/absent`);
  });
}

// A time within which something must be, if it must.
function soon(form, of, at, text, fresh) {
  const line = part({ "data-path": `${at}/within` }, check(text, "within" in of, `${at}!within`, (on) => {
    if (on) of.within = fresh;
    else delete of.within;
    form.opened.add(of);
    form.redraw(`${at}!within`);
  }));
  if ("within" in of) line.append(...durationControls(form, of.within, `${at}/within`, (next) => { of.within = next; }));
  return line;
}
