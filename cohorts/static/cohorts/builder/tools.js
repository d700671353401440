// Above the form: undo, redo, and what to begin with.
import { button, make, row } from "./dom.js";
import { fromTemplate } from "./templates.js";

export class Tools {
  constructor(form) {
    this.form = form;
    this.undo = button("Undo", "undo", () => form.back("undo"));
    this.redo = button("Redo", "redo", () => form.back("redo"));
    this.select = make("select", { "aria-label": "Begin with", "data-at": "begin" });
    this.use = button("Use it", "use", () => this.begin());
    this.said = make("span", { class: "cs-word", role: "status" });
    this.row = row({ class: "cs-row cs-toolbar" }, this.undo, this.redo, this.select, this.use, this.said);
    this.show();
  }

  show() {
    this.undo.disabled = !this.form.history?.past.length;
    this.redo.disabled = !this.form.history?.future.length;
  }

  // The templates, and the cohorts whose definition can be copied.
  fill() {
    const options = (pairs, kind) => pairs.map(([key, text]) => make("option", { value: `${kind}:${key}` }, text));
    const chosen = this.select.value;
    const copied = options(this.form.names.known.defined || [], "copy");
    this.select.replaceChildren(
      make("option", { value: "" }, "Begin with …"),
      make("optgroup", { label: "A template" }, ...options(Object.entries(this.form.words.templates), "template")),
      ...(copied.length ? [make("optgroup", { label: "A copy of" }, ...copied)] : []),
    );
    this.select.value = chosen;
    if (this.select.selectedIndex < 0) this.select.value = "";
  }

  async begin() {
    const [kind, ...rest] = this.select.value.split(":");
    if (!kind) return this.select.focus();
    const made = await (kind === "copy" ? this.copied(rest.join(":")) : this.templated(rest[0]));
    if (!made) return this.say("The server does not give it now; try again.");
    this.form.replace(made);
    this.select.value = "";
    this.say("Undo brings back what was there.");
  }

  say(text) { this.said.textContent = text; }

  templated(name) {
    const { names } = this.form;
    return fromTemplate(name, names.known.events.map(([event]) => event), (event) => names.propertiesOf(event));
  }

  async copied(cohort) {
    return (await this.form.names.ask(this.form.urls.definitionUrl, { cohort }))?.definition;
  }
}
