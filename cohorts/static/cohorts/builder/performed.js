// "Did an event": how often or how much, and when.
import { changeComparison, changeMeasure, comparisonOf, measureOf } from "./definition.js";
import { details } from "./details.js";
import { check, choice, input, number, part, word } from "./dom.js";
import { eventNames, filters, firstEvent, orEvent } from "./events.js";
import { durationControls, windowControls } from "./time.js";

export function performed(form, of, path) {
  const { measures } = form.words;
  const measure = measureOf(of, measures);
  const often = part({ "data-path": measure ? `${path}/${measure}` : path });
  const select = choice("How often or much", measures, measure, `${path}!measure`, (next) => {
    changeMeasure(of, next, measures);
    form.redraw(`${path}!measure`);
  });
  if (!measure) often.append(select);
  else if (["first", "last"].includes(measure)) often.append(select, ...windowControls(form, of, measure, `${path}/${measure}`));
  else if (measure === "nth") often.append(select, ...nth(form, of.nth, `${path}/nth`));
  else often.append(...amount(form, of, measure, path, select));
  const when = part({ "data-path": `${path}/window` }, ...windowControls(form, of, "window", `${path}/window`));
  const used = hasDetails(of, measure);
  if (used) form.opened.add(of); // what was there once stays in sight when it is taken out
  const [toggle, more] = details(form, of, path, used, "this condition", () => detailed(form, of, measure, path));
  return [eventNames(form, of, path), often, when, ...filters(form, of, path), toggle, more];
}

function hasDetails(of, measure) {
  const { periods } = of;
  return Boolean(of.after_first || of.or_never || (measure === "periods" && (periods.times || periods.in_a_row)) || of.nth?.where);
}

function detailed(form, of, measure, path) {
  const parts = [orEvent(form, of, path), ...afterFirst(form, of, path)];
  if (measure === "periods") parts.push(inARow(form, of.periods, `${path}/periods`), inEach(form, of.periods, `${path}/periods`));
  if (measure === "nth") parts.push(part({ role: "group", "aria-label": "That time" }, word("that time"), ...filters(form, of.nth, `${path}/nth`, () => firstEvent(of))));
  if (measure && !["first", "last"].includes(measure)) parts.push(orNever(form, of, path));
  return parts;
}

// The n-th event: which, and when it was.
function nth(form, of, at) {
  const which = number(form, "which (1 first, −1 last)", of.n, `${at}/n`, (value) => { of.n = value; });
  return [which, word("(−1: the last) was"), ...windowControls(form, of, "window", `${at}/window`)];
}

// Of days, weeks or months: how often in each of them.
function inEach(form, of, at) {
  const line = part({ "data-path": `${at}/times` }, check("so often in each", "times" in of, `${at}!times`, (on) => {
    if (on) of.times = { ">=": 2 };
    else delete of.times;
    form.redraw(`${at}!times`);
  }));
  if ("times" in of) line.append(...compared(form, of.times, `${at}/times`), word("times"));
  return line;
}

function inARow(form, of, at) {
  return check("in a row", Boolean(of.in_a_row), `${at}/in_a_row`, (on) => {
    if (on) of.in_a_row = true;
    else delete of.in_a_row;
    form.redraw(`${at}/in_a_row`);
  });
}

// Only events within a time of the user's first of some event.
function afterFirst(form, of, path) {
  const at = `${path}/after_first`;
  const line = part({ "data-path": at }, check("only soon after their first …", "after_first" in of, `${at}!on`, (on) => {
    if (on) of.after_first = { event: "*", within: "7d" };
    else delete of.after_first;
    form.redraw(`${at}!on`);
  }));
  const since = of.after_first;
  if (!since) return [line];
  line.append(word("within"), ...durationControls(form, since.within, `${at}/within`, (next) => { since.within = next; }));
  line.append(word("of their first"));
  return [line, eventNames(form, since, at), ...filters(form, since, at)];
}

function orNever(form, of, path) {
  return check("or never", Boolean(of.or_never), `${path}/or_never`, (on) => {
    if (on) of.or_never = true;
    else delete of.or_never;
    form.redraw(`${path}/or_never`);
  });
}

// "at least 3 different days", "at least 100 as the sum of price".
function amount(form, of, measure, path, select) {
  const it = of[measure];
  const at = `${path}/${measure}`;
  const parts = [...compared(form, it, at), select];
  if ("percent" in it) parts.push(number(form, "percent", it.percent, `${at}/percent`, (value) => { it.percent = value; }), word("% of"));
  if ("property" in it) parts.push(input("of the property", it.property, `${at}/property`, (text) => {
    it.property = text;
    form.changed();
  }, { placeholder: "property", onfocus: (event) => event.target.setAttribute("list", form.names.properties(firstEvent(of))) }));
  if (measure === "periods") parts.push(unit(form, it, at));
  return parts;
}

function compared(form, it, at) {
  const { comparisons } = form.words;
  const op = comparisonOf(it, comparisons);
  const parts = [choice("is", comparisons, op, `${at}!op`, (next) => {
    changeComparison(it, next, comparisons);
    form.redraw(`${at}!op`);
  })];
  if (op !== "between") return [...parts, number(form, "number", it[op], `${at}!0`, (value) => { it[op] = value; })];
  const pair = [it[op]].flat();
  const ends = [0, 1].map((n) => number(form, n ? "and" : "number", pair[n], `${at}!${n}`, (value) => {
    pair[n] = value;
    it[op] = pair;
  }));
  return [...parts, ends[0], word("and"), ends[1]];
}

function unit(form, it, at) {
  const { day, week, month } = form.words.periods;
  return choice("of these", { day: `${day}s`, week: `${week}s`, month: `${month}s` }, it.of, `${at}/of`, (next) => {
    it.of = next;
    form.changed();
  });
}
