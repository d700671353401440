// The names of events, and what is asked of their properties.
import { addAlternative, removeAlternative } from "./definition.js";
import { button, input, make, row } from "./dom.js";
import { propertyRow } from "./property.js";

export function firstEvent(of) {
  return Array.isArray(of.event) ? of.event[0] : of.event;
}

export function eventNames(form, of, path) {
  const names = Array.isArray(of.event) ? of.event : [of.event ?? ""];
  const put = () => { of.event = names.length === 1 ? names[0] : names; };
  const at = `${path}/event`;
  const line = row({ "data-path": at });
  names.forEach((name, index) => {
    line.append(input(index ? "or event" : "Event (* is any)", name, `${at}/${index}`, (text) => {
      names[index] = text;
      put();
      form.changed();
    }, { list: form.names.events() }));
    if (names.length > 1) line.append(button("×", `${at}/${index}!remove`, () => {
      names.splice(index, 1);
      put();
      form.redraw(`${at}/0`);
    }, `Remove event ${name}`));
  });
  line.append(button("or another event", `${at}!add`, () => {
    names.push("");
    put();
    form.redraw(`${at}/${names.length - 1}`);
  }));
  return line;
}

// `event` names the event when `of` does not.
export function filters(form, of, path, event = firstEvent(of)) {
  const where = of.where || [];
  const at = `${path}/where`;
  const rows = where.flatMap((one, index) => (Array.isArray(one.any)
    ? alternatives(form, where, index, at, event)
    : [alone(form, of, where, index, at, event)]));
  const add = button("with a property", `${at}!add`, () => {
    of.where = [...where, { property: "", "=": "" }];
    form.redraw(`${at}/${where.length}`);
  });
  return [...rows, row({}, add)];
}

function alone(form, of, where, index, at, event) {
  const line = propertyRow(form, where[index], `${at}/${index}`, form.names.properties(event));
  const remove = button("×", `${at}/${index}!remove`, () => {
    where.splice(index, 1);
    if (!where.length) delete of.where;
    form.redraw(`${at}!add`);
  }, "Remove property");
  line.append(orElse(form, where, index, at), remove);
  return line;
}

function alternatives(form, where, index, at, event) {
  const list = form.names.properties(event);
  return where[index].any.map((one, n) => {
    const line = propertyRow(form, one, `${at}/${index}/any/${n}`, list);
    if (n) line.prepend(make("span", {}, "or"));
    const remove = button("×", `${at}/${index}/any/${n}!remove`, () => {
      removeAlternative(where, index, n);
      form.redraw(`${at}!add`);
    }, "Remove alternative");
    line.append(orElse(form, where, index, at), remove);
    return line;
  });
}

function orElse(form, where, index, at) {
  return button("or", `${at}/${index}!or`, () => {
    addAlternative(where, index);
    form.redraw(`${at}/${index}/any/${where[index].any.length - 1}`);
  }, "Or another property");
}
