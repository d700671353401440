// Windows and durations.
import { freshWindow, splitDuration, windowKind } from "./definition.js";
import { choice, input, word } from "./dom.js";

export function durationControls(form, value, path, put) {
  let [amount, unit] = splitDuration(value, form.words.units);
  const say = () => {
    put(`${amount}${unit}`);
    form.changed();
  };
  return [
    input("number", amount, path, (text) => { amount = text; say(); }, { type: "number", min: 1, placeholder: "0", class: "cs-short" }),
    choice("unit", form.words.units, unit, `${path}!unit`, (next) => { unit = next; say(); }),
  ];
}

// The controls of the window that `of` has under a key; only a condition's own window can be left out.
export function windowControls(form, of, key, path) {
  const value = of[key];
  const kind = windowKind(value);
  const { all_time: always, ...bounded } = form.words.windows;
  const options = key === "window" ? { all_time: always, ...bounded } : bounded;
  const parts = [choice("When", options, kind, `${path}!window`, (next) => {
    if (next === "all_time") delete of[key];
    else of[key] = freshWindow(next, new Date().toISOString().slice(0, 10));
    form.redraw(`${path}!window`);
  })];
  if (kind === "last") parts.push(...durationControls(form, value.last, `${path}/last`, (next) => { value.last = next; }));
  if (kind === "between_ago") parts.push(...agoControls(form, value.between_ago, path));
  if (["this", "previous"].includes(kind)) parts.push(...calendarControls(form, value, kind, path));
  if (kind === "dates") parts.push(dayControl(form, value, "from", path), word("to"), dayControl(form, value, "to", path));
  return parts;
}

function calendarControls(form, value, kind, path) {
  const unit = choice("period", form.words.periods, value[kind], `${path}/${kind}`, (next) => {
    value[kind] = next;
    form.changed();
  });
  if (kind === "this") return [unit];
  const count = input("how many", value.count ?? 1, `${path}/count`, (text) => {
    value.count = text === "" ? null : Number(text);
    form.changed();
  }, { type: "number", min: 1, placeholder: "0", class: "cs-short" });
  return [count, unit];
}

function agoControls(form, pair, path) {
  const end = (n) => durationControls(form, pair[n], `${path}/between_ago/${n}`, (next) => { pair[n] = next; });
  return [...end(0), word("and"), ...end(1), word("ago")];
}

function dayControl(form, value, end, path) {
  return input(end, value[end], `${path}/${end}`, (text) => {
    if (text) value[end] = text;
    else delete value[end];
    form.changed();
  }, { type: "date", placeholder: undefined });
}
