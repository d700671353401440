// Two ways to edit: the form, and its JSON.
import { make } from "./dom.js";

const TEXTS = { form: "Form", json: "JSON" };

export class Tabs {
  // `panels`: what each shows, by its name; `show(name)` is called when one is chosen.
  constructor(panels, show) {
    this.choose = show;
    this.panels = Object.fromEntries(Object.entries(panels).map(([name, content]) => [name, make("div", {
      role: "tabpanel", id: `cs-${name}-panel`, "aria-labelledby": `cs-${name}-tab`,
    }, ...content)]));
    this.tabs = Object.fromEntries(Object.keys(panels).map((name) => [name, make("button", {
      type: "button", role: "tab", id: `cs-${name}-tab`, class: "cs-button", "aria-controls": `cs-${name}-panel`,
      onclick: () => show(name), onkeydown: (event) => this.key(event),
    }, TEXTS[name])]));
    this.list = make("div", { class: "cs-builder-tabs", role: "tablist", "aria-label": "How to edit the definition" }, ...Object.values(this.tabs));
  }

  key(event) {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    this.choose(this.shown === "form" ? "json" : "form");
    this.tabs[this.shown].focus();
  }

  show(name) {
    this.shown = name;
    for (const one of Object.keys(this.tabs)) {
      this.tabs[one].setAttribute("aria-selected", one === name);
      this.tabs[one].tabIndex = one === name ? 0 : -1;
      this.panels[one].hidden = one !== name;
    }
  }
}
