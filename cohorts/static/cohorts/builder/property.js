// The comparison of one property, of an event or of the user.
import { canIgnoreCase, changeOperator, operatorOf, readValue, showValue, typeOf } from "./definition.js";
import { check, choice, input, part } from "./dom.js";
import { durationControls } from "./time.js";

// `event()` names whose property it is; "" is the user's own.
export function property(form, of, path, event) {
  const { shapes, operators } = form.words;
  const op = operatorOf(of, shapes);
  const name = input("Property", of.property, path, (text) => {
    of.property = text;
    form.changed();
  }, { placeholder: "property", onfocus: (at) => at.target.setAttribute("list", form.names.properties(event())) });
  const comparison = choice("Comparison", operators, op, `${path}!op`, (next) => {
    changeOperator(of, next, shapes);
    form.redraw(`${path}!op`);
  });
  return part({ "data-path": path }, name, comparison, ...operand(form, of, op, path, event));
}

function operand(form, of, op, path, event) {
  const shape = form.words.shapes[op];
  if (shape === "none") return [];
  if (shape === "duration") return durationControls(form, of[op], `${path}!value`, (next) => { of[op] = next; });
  const type = typeOf(of, of[op], form.names.typeOf(event(), of.property));
  const cased = canIgnoreCase(op, form.words.shapes) && type === "string" ? [inAnyCase(form, of, path)] : [];
  return [...valueControls(form, of, op, path, type, event), ...cased];
}

function inAnyCase(form, of, path) {
  return check("in any case", Boolean(of.ignore_case), `${path}/ignore_case`, (on) => {
    if (on) of.ignore_case = true;
    else delete of.ignore_case;
    form.changed();
  });
}

function valueControls(form, of, op, path, first, event) {
  const value = of[op];
  const many = Array.isArray(value);
  let type = first;
  const control = input(many ? "Values, with commas" : "Value", showValue(value), `${path}!value`, (text) => {
    of[op] = readValue(text, type, many);
    form.changed();
  }, { placeholder: many ? "values, with commas" : "value" });
  const box = control.querySelector("input");
  box.addEventListener("focus", () => {
    // What is known now: the property's name may have been typed just before.
    if (!many && box.value === "") type = typeOf(of, of[op], form.names.typeOf(event(), of.property));
    box.setAttribute("list", form.names.values(event(), of.property));
  });
  const select = choice("as", form.words.types, type, `${path}!type`, (next) => {
    type = next;
    if (next === "date") of.type = next;
    else delete of.type;
    if (next !== "string") delete of.ignore_case;
    of[op] = readValue(box.value, next, many);
    form.redraw(`${path}!type`);
  });
  return [control, select];
}
