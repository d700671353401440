// Groups and conditions, a line each.
import { freshCondition } from "./definition.js";
import { button, choice, input, make, part, row, word } from "./dom.js";
import { droppable, tools } from "./line.js";
import { more, sample } from "./more.js";
import { groupKey, unwrapped } from "./moves.js";
import { performed } from "./performed.js";
import { property } from "./property.js";
import { sequence } from "./sequence.js";

const MOST_DEPTH = 5;

// The outermost group: `one` is {all: […]} or {any: […]}.
export function tree(form, one) {
  const head = row({}, ...groupChoice(form, one, false, "/where", form.words.groups));
  return make("div", { class: "cs-tree", "data-path": "/where", role: "group", "aria-label": "Conditions" },
    head, ...lines(form, one, "/where", 1, false));
}

// The lines of a group, and what adds another one.
function lines(form, one, path, depth, negated) {
  const key = groupKey(one);
  const list = one[key];
  const joined = key === "all" ? "and" : "or";
  return [
    ...list.map((_, index) => item(form, list, `${path}/${key}`, index, depth, index ? joined : "")),
    adders(form, list, `${path}/${key}`, path, depth, negated),
  ];
}

function item(form, list, listPath, index, depth, joined) {
  const path = `${listPath}/${index}`;
  const { inner, below, nots } = unwrapped(list[index], path);
  const key = inner && typeof inner === "object" && Object.keys(inner).length === 1 ? Object.keys(inner)[0] : "";
  const negated = nots % 2 === 1;
  const put = (node, not) => { list[index] = not ? { not: node } : node; };
  const isGroup = Boolean(groupKey(inner)) && key !== "";
  const what = isGroup ? "group" : "condition";
  const end = tools(form, path, what, list.length);
  const first = joined ? [word(joined)] : [];
  const made = isGroup
    ? group(form, inner, path, below, depth, negated, put, first, end)
    : condition(form, inner, key, path, below, negated, put, first, end);
  form.live.mark(made, list[index]);
  droppable(form, made, path);
  return made;
}

function group(form, one, path, below, depth, negated, put, first, end) {
  const options = { ...form.words.groups, ...negative(form.words.notGroups) };
  const head = row({}, ...first, ...groupChoice(form, one, negated, path, options, put), end);
  return make("fieldset", { class: "cs-node cs-group", "data-path": below, "data-item": path },
    make("legend", { class: "cs-sr" }, "Group of conditions"), head, ...lines(form, one, below, depth + 1, negated));
}

function negative(names) {
  return Object.fromEntries(Object.entries(names).map(([key, text]) => [`!${key}`, text]));
}

function groupChoice(form, one, negated, path, options, put = () => {}) {
  const key = groupKey(one);
  const select = choice("Users for whom", options, `${negated ? "!" : ""}${key}`, `${path}!kind`, (next) => {
    const list = one[key];
    delete one[key];
    one[next.replace("!", "")] = list;
    put(one, next.startsWith("!"));
    form.redraw(`${path}!kind`);
  });
  return [word("users for whom"), select];
}

function adders(form, list, inside, path, depth) {
  const add = (made) => {
    list.push(made);
    form.redraw(`${inside}/${list.length - 1}!kind`);
  };
  const fresh = () => ({ performed: freshCondition("performed") });
  const made = row({}, button("Add condition", `${path}!add`, () => add(fresh())));
  if (depth < MOST_DEPTH) made.append(button("Add group", `${path}!addgroup`, () => add({ any: [fresh()] })));
  return made;
}

function condition(form, one, key, path, below, negated, put, first, end) {
  const parts = key in form.words.kinds ? controls(form, one, key, `${below}/${key}`) : null;
  if (!parts) return raw(one, path, below, first, end);
  const options = { ...form.words.kinds, ...negative(form.words.notKinds) };
  const kind = choice("The user", options, `${negated ? "!" : ""}${key}`, `${path}!kind`, (next) => {
    const name = next.replace("!", "");
    put(name === key ? one : { [name]: freshCondition(name) }, next.startsWith("!"));
    form.redraw(`${path}!kind`);
  });
  return make("fieldset", { class: "cs-node cs-line", "data-path": below, "data-item": path },
    make("legend", { class: "cs-sr" }, "Condition"), ...first, kind, ...parts, end);
}

function raw(one, path, below, first, end) {
  const text = make("pre", { class: "cs-sql", tabindex: "0" }, JSON.stringify(one, null, 2) ?? "");
  return make("div", { class: "cs-node cs-line", "data-path": below, "data-item": path },
    ...first, word("This part is shown in the JSON tab only:"), end, text);
}

// The controls of one condition; null when the form cannot show it.
function controls(form, one, key, below) {
  const of = one[key];
  if (key === "cohort") return [part({}, input("Cohort", of, below, (text) => {
    one.cohort = text;
    form.changed();
  }, { list: form.names.cohorts(), placeholder: "cohort" }))];
  if (!of || typeof of !== "object") return null;
  if (key === "user") return [property(form, of, below, () => "")];
  return { performed, sequence, more, sample }[key](form, of, below);
}
