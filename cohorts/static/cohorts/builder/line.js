// The end of a line: move it, make another like it, take it away.
import { button, make, part } from "./dom.js";
import { duplicate, moveTo, split, step } from "./moves.js";

export function tools(form, path, what, count) {
  const [, index] = split(path);
  const name = `${what} ${index + 1} of ${count}`;
  return part({ class: "cs-part cs-tools" }, handle(form, path, name),
    button(icon("arrow_upward"), `${path}!up`, () => go(form, path, -1, "!up"), `Move ${name} up`),
    button(icon("arrow_downward"), `${path}!down`, () => go(form, path, 1, "!down"), `Move ${name} down`),
    button(icon("content_copy"), `${path}!copy`, () => form.redraw(`${duplicate(form.value.where, path)}!kind`), `Duplicate ${name}`),
    button(icon("close"), `${path}!remove`, () => remove(form, path), `Remove ${name}`));
}

function icon(name) {
  return make("span", { class: "material-symbols-outlined", "aria-hidden": "true" }, name);
}

function remove(form, path) {
  const [listPath, index] = split(path);
  form.listAt(listPath).splice(index, 1);
  form.redraw(`${listPath.replace(/\/[a-z]+$/, "")}!add`);
}

function go(form, path, by, focus = "!move") {
  const to = step(form.value.where, path, by);
  const moved = to && moveTo(form.value.where, path, ...to);
  if (moved) form.redraw(`${moved}${focus}`);
}

// Dragged by a mouse; with the focus, the arrow keys move it. (Firefox drags no buttons.)
function handle(form, path, name) {
  const keys = { ArrowUp: -1, ArrowDown: 1 };
  return make("span", {
    class: "cs-button cs-handle", role: "button", tabindex: "0", draggable: "true", "data-at": `${path}!move`,
    "aria-label": `Move ${name} by the arrow keys`, title: "Drag it, or press the arrow keys ↑ ↓",
    onkeydown: (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      go(form, path, keys[event.key]);
    },
    ondragstart: (event) => {
      form.dragged = path;
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", name);
    },
    ondragend: () => { form.dragged = null; },
  }, icon("drag_indicator"));
}

// Let conditions be dropped before or behind the item at a path.
export function droppable(form, element, path) {
  const after = (event) => {
    const box = element.getBoundingClientRect();
    return event.clientY > box.top + box.height / 2;
  };
  const mark = (name) => {
    element.classList.toggle("cs-drop-before", name === "before");
    element.classList.toggle("cs-drop-after", name === "after");
  };
  element.addEventListener("dragover", (event) => {
    if (!form.dragged) return;
    event.preventDefault();
    event.stopPropagation();
    mark(after(event) ? "after" : "before");
  });
  element.addEventListener("dragleave", () => mark(""));
  element.addEventListener("drop", (event) => {
    if (!form.dragged) return;
    event.preventDefault();
    event.stopPropagation();
    mark("");
    const [listPath, index] = split(path);
    const moved = moveTo(form.value.where, form.dragged, listPath, index + after(event));
    if (moved) form.redraw(`${moved}!move`);
  });
}
