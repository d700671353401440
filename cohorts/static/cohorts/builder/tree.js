// Groups and conditions. `set` puts another node in the place of one, null takes it away.
import { freshCondition, isGroup } from "./definition.js";
import { button, check, choice, input, make, row } from "./dom.js";
import { more, sample } from "./more.js";
import { performed } from "./performed.js";
import { propertyRow } from "./property.js";
import { sequence } from "./sequence.js";

const MOST_DEPTH = 5;

export function node(form, one, path, depth, set) {
  if (!one || typeof one !== "object") return raw(one, path, set);
  if (one.not === undefined || Object.keys(one).length !== 1) {
    return inner(form, one, path, depth, false, set, (on) => on && set({ not: one }));
  }
  const within = (next) => set(next && { not: next });
  return inner(form, one.not, `${path}/not`, depth + 1, true, within, (on) => !on && set(one.not));
}

function inner(form, one, path, depth, negated, set, negate) {
  const keys = one && typeof one === "object" ? Object.keys(one) : [];
  const [key] = keys;
  if (keys.length !== 1 || !(key in form.words.kinds || isGroup(key, one))) return raw(one, path, set);
  const head = row({}, check("not", negated, `${path}!not`, negate));
  if (isGroup(key, one)) return group(form, one, path, depth, set, head);
  return condition(form, one, key, path, set, head);
}

export function group(form, one, path, depth, set, head = row()) {
  const key = Array.isArray(one.any) ? "any" : "all";
  const list = one[key];
  const joined = { all: "all of these hold", any: "any of these holds" };
  head.append(choice("Users for whom", joined, key, `${path}!group`, (next) => {
    delete one[key];
    one[next] = list;
    form.redraw(`${path}!group`);
  }));
  if (set) head.append(button("Remove group", `${path}!remove`, () => set(null)));
  const children = list.map((child, index) => node(form, child, `${path}/${key}/${index}`, depth + 1, (next) => {
    if (next === null) list.splice(index, 1);
    else list[index] = next;
    form.redraw(next === null ? `${path}!add` : `${path}/${key}/${index}${next.not ? "/not" : ""}!not`);
  }));
  const legend = make("legend", { class: "sr-only" }, "Group of conditions");
  const more = adders(form, list, `${path}/${key}`, path, depth);
  return make("fieldset", { class: "cs-node", "data-path": path }, legend, head, ...children, more);
}

function adders(form, list, inside, path, depth) {
  const add = (made) => {
    list.push(made);
    form.redraw(`${inside}/${list.length - 1}!kind`);
  };
  const fresh = () => ({ performed: freshCondition("performed") });
  const more = row({}, button("Add condition", `${path}!add`, () => add(fresh())));
  if (depth < MOST_DEPTH) more.append(button("Add group", `${path}!addgroup`, () => add({ any: [fresh()] })));
  return more;
}

function raw(one, path, set) {
  const text = make("pre", { class: "cs-sql" }, JSON.stringify(one, null, 2) ?? "");
  const remove = row({}, button("Remove", `${path}!remove`, () => set(null)));
  return make("div", { class: "cs-node", "data-path": path }, make("p", {}, "This part is shown in the JSON tab only:"), text, remove);
}

function condition(form, one, key, path, set, head) {
  const kind = choice("The user", form.words.kinds, key, `${path}!kind`, (next) => {
    delete one[key];
    one[next] = freshCondition(next);
    form.redraw(`${path}!kind`);
  });
  head.append(kind, button("Remove", `${path}!remove`, () => set(null), "Remove condition"));
  const parts = controls(form, one, key, `${path}/${key}`);
  if (!parts) return raw(one, path, set);
  const legend = make("legend", { class: "sr-only" }, "Condition");
  return make("fieldset", { class: "cs-node", "data-path": path }, legend, head, ...parts);
}

// The controls of one condition; null when the form cannot show it.
function controls(form, one, key, below) {
  const of = one[key];
  if (key === "cohort") return [row({}, input("Cohort", of, below, (text) => {
    one.cohort = text;
    form.changed();
  }, { list: form.names.cohorts() }))];
  if (!of || typeof of !== "object") return null;
  if (key === "user") return [propertyRow(form, of, below, form.names.users())];
  return { performed, sequence, more, sample }[key](form, of, below);
}
