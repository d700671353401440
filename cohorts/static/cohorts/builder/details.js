// What a condition can say beyond its line: shown when it says so, or when somebody asks for it.
import { button, make } from "./dom.js";

// `of` is the object that the details are about, `used` whether it has one; `parts` makes the controls.
export function details(form, of, path, used, what, parts) {
  const open = used || form.opened.has(of);
  const toggle = used ? null : button(open ? "less" : "more …", `${path}!more`, () => {
    if (open) form.opened.delete(of);
    else form.opened.add(of);
    form.draw();
    form.focus(`${path}!more`);
  }, `${open ? "Less" : "More"} of ${what}`);
  if (toggle) toggle.setAttribute("aria-expanded", open);
  return [toggle, open ? make("div", { class: "cs-details" }, ...parts()) : null];
}
