// "Did an event": how often or how much, and when.
import { changeComparison, changeMeasure, comparisonOf, measureOf } from "./definition.js";
import { check, choice, input, make, row } from "./dom.js";
import { eventNames, filters, firstEvent } from "./events.js";
import { durationControls, windowControls } from "./time.js";

export function performed(form, of, path) {
  const { measures } = form.words;
  const measure = measureOf(of, measures);
  const line = row({ "data-path": measure ? `${path}/${measure}` : path });
  line.append(choice("How often or much", measures, measure, `${path}!measure`, (next) => {
    changeMeasure(of, next, measures);
    form.redraw(`${path}!measure`);
  }));
  if (["first", "last"].includes(measure)) line.append(...windowControls(form, of, measure, `${path}/${measure}`));
  else if (measure === "nth") line.append(...nth(form, of.nth, `${path}/nth`), orNever(form, of, path));
  else if (measure) line.append(...comparison(form, of, measure, path), orNever(form, of, path));
  const when = row({ "data-path": `${path}/window` }, ...windowControls(form, of, "window", `${path}/window`));
  const asked = measure === "nth" ? filters(form, of.nth, `${path}/nth`, firstEvent(of)) : [];
  const often = measure === "periods" ? [inEach(form, of.periods, `${path}/periods`)] : [];
  return [eventNames(form, of, path), ...filters(form, of, path), line, ...often, ...asked, when, ...afterFirst(form, of, path)];
}

// The n-th event: which, and when it was.
function nth(form, of, at) {
  const which = number(form, "which (1 first, −1 last)", of.n, `${at}/n`, (value) => { of.n = value; });
  return [which, ...windowControls(form, of, "window", `${at}/window`)];
}

// Of days, weeks or months: how often in each of them.
function inEach(form, of, at) {
  const line = row({ "data-path": `${at}/times` }, check("so often in each", "times" in of, `${at}!times`, (on) => {
    if (on) of.times = { ">=": 2 };
    else delete of.times;
    form.redraw(`${at}!times`);
  }));
  if ("times" in of) line.append(...comparison(form, of, "times", at));
  return line;
}

// Only events within a time of the user's first of some event.
function afterFirst(form, of, path) {
  const at = `${path}/after_first`;
  const line = row({ "data-path": at }, check("only soon after their first …", "after_first" in of, `${at}!on`, (on) => {
    if (on) of.after_first = { event: "*", within: "7d" };
    else delete of.after_first;
    form.redraw(`${at}!on`);
  }));
  const since = of.after_first;
  if (!since) return [line];
  line.append(make("span", {}, "within"), ...durationControls(form, since.within, `${at}/within`, (next) => { since.within = next; }));
  line.append(make("span", {}, "of their first"));
  return [line, eventNames(form, since, at), ...filters(form, since, at)];
}

function orNever(form, of, path) {
  return check("or never", Boolean(of.or_never), `${path}/or_never`, (on) => {
    if (on) of.or_never = true;
    else delete of.or_never;
    form.changed();
  });
}

function comparison(form, of, measure, path) {
  const it = of[measure];
  const { comparisons } = form.words;
  const op = comparisonOf(it, comparisons);
  const at = `${path}/${measure}`;
  const parts = "property" in it ? [measured(form, of, it, at)] : [];
  if ("percent" in it) parts.push(number(form, "percent", it.percent, `${at}/percent`, (value) => { it.percent = value; }));
  parts.push(choice("is", comparisons, op, `${at}!op`, (next) => {
    changeComparison(it, next, comparisons);
    form.redraw(`${at}!op`);
  }));
  if (op === "between") {
    const pair = it[op];
    [0, 1].forEach((n) => parts.push(number(form, n ? "and" : "number", [pair].flat()[n], `${at}!${n}`, (value) => { pair[n] = value; })));
  } else parts.push(number(form, "number", it[op], `${at}!0`, (value) => { it[op] = value; }));
  if (measure === "periods") parts.push(...unit(form, it, at));
  return parts;
}

function unit(form, it, at) {
  const { day, week, month } = form.words.periods;
  return [
    choice("of these", { day, week, month }, it.of, `${at}/of`, (next) => {
      it.of = next;
      form.changed();
    }),
    check("in a row", Boolean(it.in_a_row), `${at}/in_a_row`, (on) => {
      if (on) it.in_a_row = true;
      else delete it.in_a_row;
      form.changed();
    }),
  ];
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
