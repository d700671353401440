// "Did an event": how often or how much, and when.
import { changeComparison, changeMeasure, comparisonOf, measureOf } from "./definition.js";
import { check, choice, input, row } from "./dom.js";
import { eventNames, filters, firstEvent } from "./events.js";
import { windowControls } from "./time.js";

export function performed(form, of, path) {
  const { measures } = form.words;
  const measure = measureOf(of, measures);
  const line = row({ "data-path": measure ? `${path}/${measure}` : path });
  line.append(choice("How often or much", measures, measure, `${path}!measure`, (next) => {
    changeMeasure(of, next, measures);
    form.redraw(`${path}!measure`);
  }));
  if (["first", "last"].includes(measure)) line.append(...windowControls(form, of, measure, `${path}/${measure}`));
  else if (measure) line.append(...comparison(form, of, measure, path));
  const when = row({ "data-path": `${path}/window` }, ...windowControls(form, of, "window", `${path}/window`));
  return [eventNames(form, of, path), ...filters(form, of, path), line, when];
}

function comparison(form, of, measure, path) {
  const it = of[measure];
  const { comparisons } = form.words;
  const op = comparisonOf(it, comparisons);
  const at = `${path}/${measure}`;
  const parts = "property" in it ? [measured(form, of, it, at)] : [];
  parts.push(choice("is", comparisons, op, `${at}!op`, (next) => {
    changeComparison(it, next, comparisons);
    form.redraw(`${at}!op`);
  }));
  if (op === "between") {
    const pair = it[op];
    [0, 1].forEach((n) => parts.push(number(form, n ? "and" : "number", [pair].flat()[n], `${at}!${n}`, (value) => { pair[n] = value; })));
  } else parts.push(number(form, "number", it[op], `${at}!0`, (value) => { it[op] = value; }));
  parts.push(check("or never", Boolean(of.or_never), `${path}/or_never`, (on) => {
    if (on) of.or_never = true;
    else delete of.or_never;
    form.changed();
  }));
  return parts;
}

function measured(form, of, it, at) {
  return input("of the property", it.property, `${at}/property`, (text) => {
    it.property = text;
    form.changed();
  }, { list: form.names.properties(firstEvent(of)) });
}

function number(form, label, value, at, put) {
  return input(label, value, at, (text) => {
    put(text === "" ? null : Number(text));
    form.changed();
  }, { type: "number", step: "any", class: "cs-short" });
}
