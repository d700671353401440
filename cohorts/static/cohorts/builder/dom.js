// Elements and labelled controls. `data-at` names a control, `data-path` a part, by its place in the JSON.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function labelled(text, control, className = "") {
  return make("label", { class: className }, make("span", {}, text), control);
}

export function choice(label, options, value, at, change) {
  const select = make("select", { "data-at": at, onchange: (event) => change(event.target.value) });
  for (const [key, text] of Object.entries(options)) {
    select.append(make("option", { value: key, selected: key === value }, text));
  }
  return labelled(label, select);
}

export function input(label, value, at, change, more = {}) {
  const oninput = (event) => change(event.target.value);
  const attributes = { type: "text", value: value ?? "", "data-at": at, placeholder: label, autocomplete: "off", oninput, ...more };
  return labelled(label, make("input", attributes));
}

export function number(form, label, value, at, put) {
  return input(label, value, at, (text) => {
    put(text === "" ? null : Number(text));
    form.changed();
  }, { type: "number", step: "any", placeholder: "0", class: "cs-short" });
}

export function button(text, at, press, label = text) {
  const title = label === text ? undefined : label;
  return make("button", { type: "button", class: "cs-button", "data-at": at, "aria-label": label, title, onclick: press }, text);
}

export function check(text, value, at, change) {
  const onchange = (event) => change(event.target.checked);
  const box = make("input", { type: "checkbox", checked: value, "data-at": at, onchange });
  return make("label", { class: "cs-check" }, box, make("span", {}, text));
}

export function row(attributes = {}, ...children) {
  return make("div", { class: "cs-row", ...attributes }, ...children);
}

// A part of a line that stays together while there is room.
export function part(attributes = {}, ...children) {
  return make("span", { class: "cs-part", ...attributes }, ...children);
}

export function word(text) {
  return make("span", { class: "cs-word" }, text);
}
