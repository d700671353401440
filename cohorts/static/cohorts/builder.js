// The builder of behavioral definitions: a form over the JSON in the field "definition", and back.
//
// The JSON is the only state. An input changes the JSON and the field; adding, removing, moving or choosing
// another kind draws the form again. What the form cannot show stays as it is, and is edited as JSON.
// The words of the grammar come from the server (definitions/vocabulary.py).
import { readDefinition } from "./builder/definition.js";
import { button, input, labelled, make, row } from "./builder/dom.js";
import { History } from "./builder/history.js";
import { Live } from "./builder/live.js";
import { at } from "./builder/moves.js";
import { Names } from "./builder/names.js";
import { clearProblems, listed, placeProblem } from "./builder/problems.js";
import { askPreview, noPreview, post } from "./builder/server.js";
import { Tabs } from "./builder/tabs.js";
import { Tools } from "./builder/tools.js";
import { tree } from "./builder/tree.js";

const field = document.getElementById("id_definition");
const EMPTY = '{"version":1,"where":{"all":[]}}';

class Builder {
  constructor(textarea) {
    this.textarea = textarea;
    this.urls = textarea.dataset;
    this.words = JSON.parse(textarea.dataset.words);
    this.names = new Names(this.urls);
    this.live = new Live(this.urls.previewUrl);
    this.body = make("div", { class: "cs-builder", onkeydown: (event) => this.key(event) });
    this.tools = new Tools(this);
    this.sentence = make("p", { class: "cs-builder-sentence", role: "status" });
    this.problems = make("ul", { class: "cs-problem", role: "alert" });
    this.panel = make("div", { id: "preview", "aria-live": "polite" });
    this.asOf = make("input", { type: "datetime-local", step: "1", "data-at": "as-of", onchange: () => this.checkSoon() });
    this.panel.previewAsOf = (text) => {
      this.asOf.value = text;
      this.asOf.focus(); // the button that was pressed goes away
      this.preview();
    };
    this.asked = 0;
    // The objects of the JSON whose details somebody asked for.
    this.opened = new WeakSet();
    // A save was refused: what is empty is an error then.
    this.strict = Boolean(document.querySelector(".errornote"));
  }

  start() {
    const frame = make("div", { class: "cs-frame" });
    this.textarea.before(frame);
    this.tabs = new Tabs({ form: [this.tools.row, this.body], json: [this.textarea] }, (name) => this.show(name));
    const asOf = labelled(`as of (${this.urls.timeZone}; empty: now)`, this.asOf, "cs-as-of");
    const preview = row({}, button("Preview", "preview", () => this.preview()), asOf);
    frame.append(this.tabs.list, this.sentence, ...Object.values(this.tabs.panels), this.live.line, this.problems, this.names.lists, preview, this.panel);
    this.textarea.addEventListener("input", () => this.typed());
    for (const name of ["source_kind", "events_workspace"]) {
      const control = document.getElementById(`id_${name}`);
      if (control) control.addEventListener("change", () => this.renewNames());
    }
    this.show(this.read() || !this.textarea.value.trim() ? "form" : "json");
    this.renewNames();
  }

  async renewNames() {
    await this.names.renew();
    this.tools.fill();
    if (this.tabs.shown !== "form" || this.body.contains(document.activeElement)) return;
    this.draw();
    this.checkSoon();
  }

  show(wanted) {
    let name = wanted;
    if (name === "form" && this.textarea.value.trim() && !this.read()) {
      this.tell("", [["", "This is not the JSON of a definition: correct it here, then the form can show it."]]);
      name = "json";
    }
    this.tabs.show(name);
    if (name === "form") this.take(this.read() || JSON.parse(EMPTY));
    this.checkSoon();
  }

  // --- the JSON

  read() {
    return readDefinition(this.textarea.value);
  }

  // Show a definition that comes from elsewhere.
  take(value) {
    this.value = value;
    const text = JSON.stringify(value);
    this.history = this.history || new History(text);
    this.history.note(text);
    this.draw();
  }

  // The field itself was written: as JSON, or by a draft that came back.
  typed() {
    const value = this.tabs.shown === "form" && this.read();
    if (value) this.take(value);
    this.checkSoon();
  }

  changed(key = document.activeElement?.dataset.at) {
    this.history.note(JSON.stringify(this.value), key ?? null);
    this.write();
  }

  write() {
    this.textarea.value = JSON.stringify(this.value, null, 2);
    this.textarea.dispatchEvent(new Event("change", { bubbles: true }));
    this.live.begin();
    this.tools.show();
    this.tools.say("");
    this.checkSoon();
  }

  listAt(path) {
    return at(this.value.where, path);
  }

  // Put another definition in the place of this one; it can be undone.
  replace(value) {
    this.value = readDefinition(JSON.stringify(value));
    this.redraw("/where/all/0!kind");
  }

  redraw(focus) {
    this.changed(null);
    this.draw();
    this.focus(focus);
  }

  focus(name) {
    const found = name && [...this.body.querySelectorAll("[data-at]")].find((one) => one.dataset.at === name);
    if (found) found.focus();
    return Boolean(found);
  }

  draw() {
    this.body.replaceChildren(tree(this, this.value.where), row({ class: "cs-row cs-zone" }, this.zone()));
    this.tools.show();
  }

  zone() {
    return input("Time zone of days and dates", this.value.timezone, "/timezone", (text) => {
      if (text) this.value.timezone = text;
      else delete this.value.timezone;
      this.changed();
    }, { placeholder: "UTC" });
  }

  // --- undo

  back(way) {
    const was = document.activeElement?.dataset.at;
    const text = this.history[way]();
    if (text === null) return;
    this.value = JSON.parse(text);
    this.write();
    this.draw();
    const tool = this.tools[way].disabled ? this.tools[way === "undo" ? "redo" : "undo"] : this.tools[way];
    if (!this.focus(was)) tool.focus();
  }

  key(event) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const pressed = event.key.toLowerCase();
    const way = pressed === "y" || (pressed === "z" && event.shiftKey) ? "redo" : pressed === "z" ? "undo" : "";
    if (!way) return;
    event.preventDefault();
    this.back(way);
  }

  // --- the sentence, the problems, the numbers, the preview

  checkSoon() {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.check(), 250);
  }

  text() {
    return this.tabs.shown === "form" ? JSON.stringify(this.value) : this.textarea.value;
  }

  async check() {
    if (!this.text().trim()) return this.tell("", []);
    const turn = ++this.asked;
    try {
      const address = `${this.urls.checkUrl}?workspace=${encodeURIComponent(this.workspace())}`;
      const said = await (await post(address, this.text())).json();
      if (turn === this.asked) this.tell(said.sentence, said.problems);
    } catch {
      if (turn === this.asked) this.tell("", [["", "The server does not answer; what you type is kept here."]]);
    }
  }

  tell(sentence, problems) {
    this.sentence.textContent = sentence;
    this.sentence.hidden = !sentence;
    clearProblems(this.body);
    const inForm = this.tabs.shown === "form";
    const placed = ([pointer, message]) => inForm && placeProblem(this.body, pointer, message, this.strict);
    this.problems.replaceChildren(...listed(problems.filter((one) => !placed(one))));
    const whole = sentence && !problems.length && inForm && this.asOf.validity.valid;
    this.live.follow(whole ? { body: JSON.stringify({ ...this.wanted(this.value), live: true }), where: this.value.where } : null);
  }

  workspace() {
    return document.getElementById("id_events_workspace")?.value ?? "";
  }

  // What is asked of the server about a definition.
  wanted(definition) {
    return { source_kind: "behavioral", definition, events_workspace: this.workspace(), as_of: this.asOf.value };
  }

  async preview() {
    try {
      const definition = JSON.parse(this.text());
      if (!this.asOf.validity.valid) throw new Error("the date and time of “as of” are not complete.");
      await askPreview(this.urls.previewUrl, this.panel, this.wanted(definition));
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
