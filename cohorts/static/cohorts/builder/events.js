// The names of events, and what is asked of their properties.
import { button, input, row } from "./dom.js";
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

export function filters(form, of, path) {
  const where = of.where || [];
  const list = form.names.properties(firstEvent(of));
  const rows = where.map((one, index) => {
    const line = propertyRow(form, one, `${path}/where/${index}`, list);
    line.append(button("×", `${path}/where/${index}!remove`, () => {
      where.splice(index, 1);
      if (!where.length) delete of.where;
      form.redraw(`${path}/where!add`);
    }, "Remove property"));
    return line;
  });
  const add = button("with a property", `${path}/where!add`, () => {
    of.where = [...where, { property: "", "=": "" }];
    form.redraw(`${path}/where/${where.length}`);
  });
  return [...rows, row({}, add)];
}
