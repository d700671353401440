// The builder of behavioral definitions: a form over the JSON in the field "definition", and back.
//
// The JSON is the only state. An input changes the JSON and the field; adding, removing or choosing
// another kind draws the form again. What the form cannot show stays as it is, and is edited as JSON.
// The words of the grammar come from the server (definitions/vocabulary.py).
import { readDefinition } from "./builder/definition.js";
import { button, input, labelled, make, row } from "./builder/dom.js";
import { Names } from "./builder/names.js";
import { clearProblems, listed, placeProblem } from "./builder/problems.js";
import { askPreview, noPreview, post } from "./builder/server.js";
import { group } from "./builder/tree.js";

const field = document.getElementById("id_definition");

class Builder {
  constructor(textarea) {
    this.textarea = textarea;
    this.urls = textarea.dataset;
    this.words = JSON.parse(textarea.dataset.words);
    this.names = new Names(this.urls.namesUrl);
    this.body = make("div", { class: "cs-builder" });
    this.sentence = make("p", { class: "cs-sentence", role: "status" });
    this.problems = make("ul", { class: "cs-problem", role: "alert" });
    this.panel = make("div", { id: "preview", "aria-live": "polite" });
    this.asOf = make("input", { type: "datetime-local", step: "1", "data-at": "as-of" });
    this.panel.previewAsOf = (text) => {
      this.asOf.value = text;
      this.asOf.focus(); // the button that was pressed goes away
      this.preview();
    };
    this.asked = 0;
    // What somebody has typed into or left; null when a save was refused: then all is judged.
    this.touched = document.querySelector(".errornote") ? null : new Set();
  }

  start() {
    const frame = make("div", { class: "cs-frame" });
    this.textarea.before(frame);
    this.formPanel = this.tabPanel("form", this.body);
    this.jsonPanel = this.tabPanel("json", this.textarea);
    const asOf = labelled(`as of (${this.urls.timeZone}; empty: now)`, this.asOf, "cs-as-of");
    const preview = row({}, button("Preview", "preview", () => this.preview()), asOf);
    frame.append(this.tabs(), this.formPanel, this.jsonPanel, this.sentence, this.problems, this.names.lists, preview, this.panel);
    this.textarea.addEventListener("input", () => this.checkSoon());
    this.body.addEventListener("input", (event) => this.touch(event.target), true);
    this.body.addEventListener("focusout", (event) => {
      if (event.relatedTarget && event.target.value === "") this.touch(event.target);
    });
    for (const name of ["source_kind", "events_workspace"]) {
      const control = document.getElementById(`id_${name}`);
      if (control) control.addEventListener("change", () => this.renewNames());
    }
    this.show(this.read() || !this.textarea.value.trim() ? "form" : "json");
    this.renewNames();
  }

  async renewNames() {
    await this.names.renew();
    if (this.tab !== "form" || this.body.contains(document.activeElement)) return;
    this.draw();
    this.checkSoon();
  }

  // --- tabs

  tabPanel(name, ...children) {
    return make("div", { role: "tabpanel", id: `cs-${name}-panel`, "aria-labelledby": `cs-${name}-tab` }, ...children);
  }

  tabs() {
    const tab = (name, text) => make("button", {
      type: "button", role: "tab", id: `cs-${name}-tab`, class: "cs-button", "aria-controls": `cs-${name}-panel`,
      onclick: () => this.show(name), onkeydown: (event) => this.tabKey(event),
    }, text);
    const attributes = { class: "cs-tabs", role: "tablist", "aria-label": "How to edit the definition" };
    return make("div", attributes, tab("form", "Form"), tab("json", "JSON"));
  }

  tabKey(event) {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    this.show(this.tab === "form" ? "json" : "form");
    document.getElementById(`cs-${this.tab}-tab`).focus();
  }

  show(name) {
    if (name === "form" && this.textarea.value.trim() && !this.read()) {
      this.tell("", [["", "This is not the JSON of a definition: correct it here, then the form can show it."]]);
      name = "json";
    }
    this.tab = name;
    for (const one of ["form", "json"]) {
      const tab = document.getElementById(`cs-${one}-tab`);
      tab.setAttribute("aria-selected", one === name);
      tab.tabIndex = one === name ? 0 : -1;
    }
    this.formPanel.hidden = name !== "form";
    this.jsonPanel.hidden = name !== "json";
    if (name === "form") {
      this.value = this.read() || { version: 1, where: { all: [] } };
      this.draw();
    }
    this.checkSoon();
  }

  // --- the JSON

  read() {
    return readDefinition(this.textarea.value);
  }

  changed() {
    this.textarea.value = JSON.stringify(this.value, null, 2);
    this.textarea.dispatchEvent(new Event("change", { bubbles: true }));
    this.checkSoon();
  }

  redraw(focus) {
    this.changed();
    this.draw();
    const at = focus && [...this.body.querySelectorAll("[data-at]")].find((one) => one.dataset.at === focus);
    if (at) at.focus();
  }

  draw() {
    this.body.replaceChildren(group(this, this.value.where, "/where", 1, null), row({}, this.zone()));
  }

  zone() {
    return input("Time zone of days and dates", this.value.timezone, "/timezone", (text) => {
      if (text) this.value.timezone = text;
      else delete this.value.timezone;
      this.changed();
    }, { placeholder: "UTC" });
  }

  // --- the sentence, the problems, the preview

  checkSoon() {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.check(), 250);
  }

  touch(control) {
    if (!this.touched || !control.dataset.at || this.touched.has(control.dataset.at)) return;
    this.touched.add(control.dataset.at);
    this.checkSoon();
  }

  text() {
    return this.tab === "form" ? JSON.stringify(this.value) : this.textarea.value;
  }

  async check() {
    if (!this.text().trim()) return this.tell("", []);
    const turn = ++this.asked;
    try {
      const said = await (await post(this.urls.checkUrl, this.text())).json();
      if (turn === this.asked) this.tell(said.sentence, said.problems);
    } catch {
      if (turn === this.asked) this.tell("", [["", "The server does not answer; what you type is kept here."]]);
    }
  }

  tell(sentence, problems) {
    this.sentence.textContent = sentence;
    this.sentence.hidden = !sentence;
    clearProblems(this.body);
    const placed = ([pointer, message]) => this.tab === "form" && placeProblem(this.body, pointer, message, this.touched);
    this.problems.replaceChildren(...listed(problems.filter((one) => !placed(one))));
  }

  async preview() {
    try {
      const definition = JSON.parse(this.text());
      if (!this.asOf.validity.valid) throw new Error("the date and time of “as of” are not complete.");
      const workspace = document.getElementById("id_events_workspace")?.value;
      const wanted = { source_kind: "behavioral", definition, events_workspace: workspace, as_of: this.asOf.value };
      await askPreview(this.urls.previewUrl, this.panel, wanted);
    } catch (error) {
      noPreview(this.panel, error);
    }
  }
}

// A query has the same preview, below its own field.
function queryPreview(url) {
  const query = document.getElementById("id_query_sql");
  if (!query) return;
  const panel = make("div", { "aria-live": "polite" });
  const press = async () => {
    const database = document.getElementById("id_query_database").value;
    try {
      await askPreview(url, panel, { source_kind: "query", query_database: database, query_sql: query.value });
    } catch (error) {
      noPreview(panel, error);
    }
  };
  query.after(row({}, button("Preview", "query-preview", press)), panel);
}

if (field && field.dataset.checkUrl) {
  new Builder(field).start();
  queryPreview(field.dataset.previewUrl);
}
