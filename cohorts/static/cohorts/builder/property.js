// The comparison of one property, of an event or of the user.
import { canIgnoreCase, changeOperator, operatorOf, readValue, showValue, typeOf } from "./definition.js";
import { check, choice, input, row } from "./dom.js";
import { durationControls } from "./time.js";

export function propertyRow(form, of, path, list) {
  const { shapes, operators } = form.words;
  const op = operatorOf(of, shapes);
  const name = input("Property", of.property, path, (text) => {
    of.property = text;
    form.changed();
  }, { list });
  const comparison = choice("Comparison", operators, op, `${path}!op`, (next) => {
    changeOperator(of, next, shapes);
    form.redraw(`${path}!op`);
  });
  return row({ "data-path": path }, name, comparison, ...operand(form, of, op, path));
}

function operand(form, of, op, path) {
  const shape = form.words.shapes[op];
  if (shape === "none") return [];
  if (shape === "duration") return durationControls(form, of[op], `${path}!value`, (next) => { of[op] = next; });
  const cased = canIgnoreCase(op, form.words.shapes) && typeOf(of, of[op]) === "string" ? [inAnyCase(form, of, path)] : [];
  return [...valueControls(form, of, op, path), ...cased];
}

function inAnyCase(form, of, path) {
  return check("in any case", Boolean(of.ignore_case), `${path}/ignore_case`, (on) => {
    if (on) of.ignore_case = true;
    else delete of.ignore_case;
    form.changed();
  });
}

function valueControls(form, of, op, path) {
  const value = of[op];
  const many = Array.isArray(value);
  let type = typeOf(of, value);
  const control = input(many ? "Values, with commas" : "Value", showValue(value), `${path}!value`, (text) => {
    of[op] = readValue(text, type, many);
    form.changed();
  });
  const select = choice("as", form.words.types, type, `${path}!type`, (next) => {
    type = next;
    if (next === "date") of.type = next;
    else delete of.type;
    if (next !== "string") delete of.ignore_case;
    of[op] = readValue(control.querySelector("input").value, next, many);
    form.redraw(`${path}!type`);
  });
  return [control, select];
}
