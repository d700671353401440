// The names of events, and what is asked of their properties.
import { addAlternative, removeAlternative } from "./definition.js";
import { button, input, part, word } from "./dom.js";
import { property } from "./property.js";

export function firstEvent(of) {
  return (Array.isArray(of.event) ? of.event[0] : of.event) || "";
}

export function eventNames(form, of, path) {
  const names = Array.isArray(of.event) ? of.event : [of.event ?? ""];
  const at = `${path}/event`;
  const line = part({ "data-path": at });
  names.forEach((name, index) => {
    if (index) line.append(word("or"));
    line.append(input(index ? "or event" : "Event (* is any)", name, `${at}/${index}`, (text) => {
      names[index] = text;
      of.event = names.length === 1 ? names[0] : names;
      form.changed();
    }, { list: form.names.events(), placeholder: "event, * is any" }));
    if (names.length > 1) line.append(button("×", `${at}/${index}!remove`, () => {
      names.splice(index, 1);
      of.event = names.length === 1 ? names[0] : names;
      form.redraw(`${at}/0`);
    }, `Remove event ${name}`));
  });
  return line;
}

export function orEvent(form, of, path) {
  return button("or another event", `${path}/event!add`, () => {
    of.event = [of.event ?? ""].flat().concat("");
    form.redraw(`${path}/event/${of.event.length - 1}`);
  });
}

// `event()` names the event when `of` does not.
export function filters(form, of, path, event = () => firstEvent(of)) {
  const where = of.where || [];
  const at = `${path}/where`;
  const parts = where.flatMap((one, index) => (Array.isArray(one.any)
    ? alternatives(form, where, index, at, event)
    : [alone(form, of, where, index, at, event)]));
  const add = button(where.length ? "and with …" : "with …", `${at}!add`, () => {
    of.where = [...where, { property: "", "=": "" }];
    form.redraw(`${at}/${where.length}`);
  }, "with a property");
  return [...parts, add];
}

function alone(form, of, where, index, at, event) {
  const line = property(form, where[index], `${at}/${index}`, event);
  const remove = button("×", `${at}/${index}!remove`, () => {
    where.splice(index, 1);
    if (!where.length) delete of.where;
    form.redraw(`${at}!add`);
  }, "Remove property");
  line.prepend(word(index ? "and with" : "with"));
  line.append(orElse(form, where, index, at), remove);
  return line;
}

function alternatives(form, where, index, at, event) {
  return where[index].any.map((one, n) => {
    const line = property(form, one, `${at}/${index}/any/${n}`, event);
    line.prepend(word(n ? "or" : index ? "and with" : "with"));
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
