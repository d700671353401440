// The builder of behavioral definitions: a form over the JSON in the field "definition", and back.
//
// The JSON is the only state. An input changes the JSON and the field; adding, removing or choosing
// another kind draws the form again. What the form cannot show stays as it is, and is edited as JSON.
"use strict";

const field = document.getElementById("id_definition");

const MEASURES = {
  "": "at least once", count: "counted", days: "on different days", sum: "sum of a property",
  avg: "average of a property", min: "smallest value", max: "largest value", distinct: "different values",
  first: "for the first time", last: "for the last time",
};
const COMPARISONS = { ">=": "at least", ">": "more than", "<=": "at most", "<": "fewer than", "=": "exactly", between: "between" };
const OPERATORS = {
  "=": "is", "!=": "is not", contains: "contains", not_contains: "does not contain", starts_with: "starts with",
  ">": "above", ">=": "at least", "<": "below", "<=": "at most", between: "between", in: "is one of",
  not_in: "is none of", is_set: "is set", is_not_set: "is not set",
};
const WINDOWS = { all_time: "at any time", last: "in the last", between_ago: "between … ago", dates: "from … to" };
const UNITS = { h: "hours", d: "days", w: "weeks" };
const KINDS = { performed: "did an event", sequence: "did one thing after another", user: "has a property", cohort: "is in a cohort" };

// --- the DOM ------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function labelled(text, control, className = "") {
  return make("label", { class: className }, make("span", {}, text), control);
}

function choice(label, options, value, at, change) {
  const select = make("select", { "data-at": at, onchange: (event) => change(event.target.value) });
  for (const [key, text] of Object.entries(options)) select.append(make("option", { value: key, selected: key === value }, text));
  return labelled(label, select);
}

function input(label, value, at, change, more = {}) {
  return labelled(label, make("input", { type: "text", value: value ?? "", "data-at": at, oninput: (e) => change(e.target.value), ...more }));
}

function button(text, at, press, label = text) {
  return make("button", { type: "button", class: "cs-button", "data-at": at, "aria-label": label, onclick: press }, text);
}

function check(text, value, at, change) {
  const box = make("input", { type: "checkbox", checked: value, "data-at": at, onchange: (e) => change(e.target.checked) });
  return make("label", { class: "cs-check" }, box, make("span", {}, text));
}

// --- the builder --------------------------------------------------------------------------------

class Builder {
  constructor(textarea) {
    this.textarea = textarea;
    this.urls = textarea.dataset;
    this.lists = make("div", { hidden: true });
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
    this.known = { events: [], users: [], cohorts: [] };
    this.numbers = 0;
    this.asked = 0;
  }

  start() {
    const frame = make("div", { class: "cs-frame" });
    this.textarea.before(frame);
    this.formPanel = make("div", { role: "tabpanel", id: "cs-form-panel", "aria-labelledby": "cs-form-tab" }, this.body);
    this.jsonPanel = make("div", { role: "tabpanel", id: "cs-json-panel", "aria-labelledby": "cs-json-tab" }, this.textarea);
    frame.append(this.tabs(), this.formPanel, this.jsonPanel, this.sentence, this.problems, this.lists,
      make("div", { class: "cs-row" }, button("Preview", "preview", () => this.preview()),
        labelled(`as of (${this.urls.timeZone}; empty: now)`, this.asOf, "cs-as-of")), this.panel);
    this.textarea.addEventListener("input", () => this.checkSoon());
    for (const name of ["source_kind", "events_workspace"]) {
      const control = document.getElementById(`id_${name}`);
      if (control) control.addEventListener("change", () => this.names());
    }
    this.show(this.read() || !this.textarea.value.trim() ? "form" : "json");
    this.names();
  }

  // --- tabs

  tabs() {
    const tab = (name, text) => make("button", {
      type: "button", role: "tab", id: `cs-${name}-tab`, class: "cs-button", "aria-controls": `cs-${name}-panel`,
      onclick: () => this.show(name), onkeydown: (event) => this.tabKey(event),
    }, text);
    return make("div", { class: "cs-tabs", role: "tablist", "aria-label": "How to edit the definition" }, tab("form", "Form"), tab("json", "JSON"));
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
    try {
      const value = JSON.parse(this.textarea.value);
      if (!value || typeof value !== "object" || Array.isArray(value)) return null;
      const where = value.where;
      // The form shows a group; one condition alone is a group of one.
      if (!where || typeof where !== "object") value.where = { all: [] };
      else if (!Array.isArray(where.all) && !Array.isArray(where.any)) value.where = { all: [where] };
      return value;
    } catch {
      return null;
    }
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
    this.body.replaceChildren(
      this.group(this.value.where, "/where", 1, null),
      make("div", { class: "cs-row" }, this.zone()),
    );
  }

  zone() {
    return input("Time zone of days and dates", this.value.timezone, "/timezone", (text) => {
      if (text) this.value.timezone = text;
      else delete this.value.timezone;
      this.changed();
    }, { placeholder: "UTC" });
  }

  // --- nodes: `set` puts another node in the place of this one, null takes it away

  node(node, path, depth, set) {
    if (!node || typeof node !== "object") return this.raw(node, path, set);
    if (node.not !== undefined && Object.keys(node).length === 1) return this.inner(node.not, `${path}/not`, depth + 1, true, (next) => set(next && { not: next }), (on) => !on && set(node.not));
    return this.inner(node, path, depth, false, set, (on) => on && set({ not: node }));
  }

  inner(node, path, depth, negated, set, negate) {
    const keys = node && typeof node === "object" ? Object.keys(node) : [];
    const [key] = keys;
    const known = keys.length === 1 && (key in KINDS || (["all", "any"].includes(key) && Array.isArray(node[key])));
    if (!known) return this.raw(node, path, set);
    const head = make("div", { class: "cs-row" }, check("not", negated, `${path}!not`, negate));
    const box = ["all", "any"].includes(key) ? this.group(node, path, depth, set, head) : this.condition(node, key, path, set, head);
    return box;
  }

  group(node, path, depth, set, head = make("div", { class: "cs-row" })) {
    const key = Array.isArray(node.any) ? "any" : "all";
    const list = node[key];
    head.append(choice("Users for whom", { all: "all of these hold", any: "any of these holds" }, key, `${path}!group`, (next) => {
      delete node[key];
      node[next] = list;
      this.redraw(`${path}!group`);
    }));
    if (set) head.append(button("Remove group", `${path}!remove`, () => set(null)));
    const add = (made) => {
      list.push(made);
      this.redraw(`${path}/${key}/${list.length - 1}!kind`);
    };
    const children = list.map((child, index) => this.node(child, `${path}/${key}/${index}`, depth + 1, (next) => {
      if (next === null) list.splice(index, 1);
      else list[index] = next;
      this.redraw(next === null ? `${path}!add` : `${path}/${key}/${index}${next.not ? "/not" : ""}!not`);
    }));
    const more = make("div", { class: "cs-row" }, button("Add condition", `${path}!add`, () => add({ performed: { event: "" } })));
    if (depth < 5) more.append(button("Add group", `${path}!addgroup`, () => add({ any: [{ performed: { event: "" } }] })));
    return make("fieldset", { class: "cs-node", "data-path": `${path}` }, make("legend", { class: "sr-only" }, "Group of conditions"), head, ...children, more);
  }

  raw(node, path, set) {
    return make("div", { class: "cs-node", "data-path": path }, make("p", {}, "This part is shown in the JSON tab only:"),
      make("pre", { class: "cs-sql" }, JSON.stringify(node, null, 2) ?? ""), make("div", { class: "cs-row" }, button("Remove", `${path}!remove`, () => set(null))));
  }

  condition(node, key, path, set, head) {
    const fresh = { performed: { event: "" }, sequence: { steps: [{ event: "" }, { event: "" }] }, user: { property: "", "=": "" }, cohort: "" };
    const inner = node[key];
    const below = `${path}/${key}`;
    head.append(
      choice("The user", KINDS, key, `${path}!kind`, (next) => {
        delete node[key];
        node[next] = fresh[next];
        this.redraw(`${path}!kind`);
      }),
      button("Remove", `${path}!remove`, () => set(null), "Remove condition"),
    );
    const box = make("fieldset", { class: "cs-node", "data-path": path }, make("legend", { class: "sr-only" }, "Condition"), head);
    if (key === "cohort") {
      box.append(make("div", { class: "cs-row" }, input("Cohort", inner, below, (text) => {
        node.cohort = text;
        this.changed();
      }, { list: this.list("cohorts", this.known.cohorts) })));
    } else if (!inner || typeof inner !== "object") return this.raw(node, path, set);
    else if (key === "user") box.append(this.property(inner, below, this.list("users", this.known.users)));
    else if (key === "performed") box.append(...this.performed(inner, below));
    else box.append(...this.sequence(inner, below));
    return box;
  }

  // --- events and their properties

  events(of, path) {
    const names = Array.isArray(of.event) ? of.event : [of.event ?? ""];
    const put = () => {
      of.event = names.length === 1 ? names[0] : names;
    };
    const row = make("div", { class: "cs-row", "data-path": `${path}/event` });
    names.forEach((name, index) => {
      row.append(input(index ? "or event" : "Event (* is any)", name, `${path}/event/${index}`, (text) => {
        names[index] = text;
        put();
        this.changed();
      }, { list: this.list("events", this.known.events) }));
      if (names.length > 1) row.append(button("×", `${path}/event/${index}!remove`, () => {
        names.splice(index, 1);
        put();
        this.redraw(`${path}/event/0`);
      }, `Remove event ${name}`));
    });
    row.append(button("or another event", `${path}/event!add`, () => {
      names.push("");
      put();
      this.redraw(`${path}/event/${names.length - 1}`);
    }));
    return row;
  }

  filters(of, path) {
    const where = of.where || [];
    const event = Array.isArray(of.event) ? of.event[0] : of.event;
    const list = this.properties(event);
    const rows = where.map((one, index) => {
      const row = this.property(one, `${path}/where/${index}`, list);
      row.append(button("×", `${path}/where/${index}!remove`, () => {
        where.splice(index, 1);
        if (!where.length) delete of.where;
        this.redraw(`${path}/where!add`);
      }, "Remove property"));
      return row;
    });
    const add = button("with a property", `${path}/where!add`, () => {
      of.where = [...where, { property: "", "=": "" }];
      this.redraw(`${path}/where/${where.length}`);
    });
    return [...rows, make("div", { class: "cs-row" }, add)];
  }

  property(of, path, list) {
    const op = Object.keys(OPERATORS).find((one) => one in of) || "=";
    const row = make("div", { class: "cs-row", "data-path": path }, input("Property", of.property, path, (text) => {
      of.property = text;
      this.changed();
    }, { list }));
    row.append(choice("Comparison", OPERATORS, op, `${path}!op`, (next) => {
      const kept = of[op];
      delete of[op];
      const many = ["in", "not_in", "between"];
      of[next] = next.startsWith("is_") ? true : many.includes(next) === many.includes(op) && !op.startsWith("is_") ? kept : many.includes(next) ? [] : "";
      this.redraw(`${path}!op`);
    }));
    if (op.startsWith("is_")) return row;
    const value = of[op];
    const kind = typeof (Array.isArray(value) ? value[0] : value);
    const type = { number: "number", boolean: "boolean" }[kind] || of.type || "string";
    const typed = (text, as) => (as === "number" && text.trim() && Number.isFinite(Number(text)) ? Number(text) : as === "boolean" ? text.trim() === "true" : text);
    const read = (text, as) => (Array.isArray(value) ? text.split(",").map((one) => typed(one.trim(), as)) : typed(text, as));
    const shown = Array.isArray(value) ? value.join(", ") : String(value ?? "");
    const control = input(Array.isArray(value) ? "Values, with commas" : "Value", shown, `${path}!value`, (text) => {
      of[op] = read(text, row.querySelector("[data-type]").value);
      this.changed();
    });
    const select = choice("as", { string: "text", number: "number", boolean: "true/false" }, type, `${path}!type`, (next) => {
      delete of.type;
      of[op] = read(control.querySelector("input").value, next);
      this.redraw(`${path}!type`);
    });
    select.querySelector("select").dataset.type = "";
    row.append(control, select);
    return row;
  }

  performed(of, path) {
    const measure = Object.keys(MEASURES).find((one) => one && one in of) || "";
    const row = make("div", { class: "cs-row", "data-path": measure ? `${path}/${measure}` : path }, choice("How often or much", MEASURES, measure, `${path}!measure`, (next) => {
      delete of[measure];
      delete of.or_never;
      if (["first", "last"].includes(next)) of[next] = { last: "30d" };
      else if (next) of[next] = { ...(["count", "days"].includes(next) ? {} : { property: "" }), ">=": 1 };
      this.redraw(`${path}!measure`);
    }));
    if (["first", "last"].includes(measure)) row.append(...this.window(of, measure, `${path}/${measure}`));
    else if (measure) row.append(...this.compare(of, measure, path));
    const when = make("div", { class: "cs-row", "data-path": `${path}/window` }, ...this.window(of, "window", `${path}/window`));
    return [this.events(of, path), ...this.filters(of, path), row, when];
  }

  compare(of, measure, path) {
    const it = of[measure];
    const op = Object.keys(COMPARISONS).find((one) => one in it) || ">=";
    const parts = [];
    if ("property" in it) {
      const event = Array.isArray(of.event) ? of.event[0] : of.event;
      parts.push(input("of the property", it.property, `${path}/${measure}/property`, (text) => {
        it.property = text;
        this.changed();
      }, { list: this.properties(event) }));
    }
    parts.push(choice("is", COMPARISONS, op, `${path}/${measure}!op`, (next) => {
      const kept = [it[op]].flat();
      delete it[op];
      it[next] = next === "between" ? [kept[0], kept[1] ?? kept[0]] : kept[0];
      this.redraw(`${path}/${measure}!op`);
    }));
    const number = (label, value, at, put) => input(label, value, at, (text) => {
      put(text === "" ? null : Number(text));
      this.changed();
    }, { type: "number", step: "any", class: "cs-short" });
    if (op === "between") [0, 1].forEach((n) => parts.push(number(n ? "and" : "number", [it[op]].flat()[n], `${path}/${measure}!${n}`, (value) => {
      it[op][n] = value;
    })));
    else parts.push(number("number", it[op], `${path}/${measure}!0`, (value) => {
      it[op] = value;
    }));
    parts.push(check("or never", Boolean(of.or_never), `${path}/or_never`, (on) => {
      if (on) of.or_never = true;
      else delete of.or_never;
      this.changed();
    }));
    return parts;
  }

  // --- time

  window(of, key, path) {
    const value = of[key];
    const kind = !value || value === "all_time" ? "all_time" : value.last ? "last" : value.between_ago ? "between_ago" : "dates";
    const options = key === "window" ? WINDOWS : Object.fromEntries(Object.entries(WINDOWS).slice(1));
    const fresh = { last: { last: "30d" }, between_ago: { between_ago: ["90d", "30d"] }, dates: { from: new Date().toISOString().slice(0, 10) } };
    const parts = [choice("When", options, kind, `${path}!window`, (next) => {
      if (next === "all_time") delete of[key];
      else of[key] = fresh[next];
      this.redraw(`${path}!window`);
    })];
    if (kind === "last") parts.push(...this.duration(value.last, `${path}/last`, (next) => {
      value.last = next;
    }));
    if (kind === "between_ago") [0, 1].forEach((n) => parts.push(...this.duration(value.between_ago[n], `${path}/between_ago/${n}`, (next) => {
      value.between_ago[n] = next;
    })));
    if (kind === "dates") for (const end of ["from", "to"]) parts.push(input(end, value[end], `${path}/${end}`, (text) => {
      if (text) value[end] = text;
      else delete value[end];
      this.changed();
    }, { type: "date" }));
    return parts;
  }

  duration(value, path, put) {
    let [, amount, unit] = /^(\d*)([hdw])$/.exec(value) || [null, "", "d"];
    const say = () => {
      put(`${amount}${unit}`);
      this.changed();
    };
    return [
      input("number", amount, path, (text) => { amount = text; say(); }, { type: "number", min: 1, class: "cs-short" }),
      choice("unit", UNITS, unit, `${path}!unit`, (next) => { unit = next; say(); }),
    ];
  }

  sequence(of, path) {
    const steps = Array.isArray(of.steps) ? of.steps : (of.steps = [{ event: "" }, { event: "" }]);
    const parts = steps.map((step, index) => {
      const at = `${path}/steps/${index}`;
      const head = make("div", { class: "cs-row" });
      if (index) head.append(check("must not happen", Boolean(step.absent), `${at}/absent`, (on) => {
        if (on) step.absent = true;
        else delete step.absent;
        this.changed();
      }));
      if (steps.length > 2) head.append(button("Remove step", `${at}!remove`, () => {
        steps.splice(index, 1);
        this.redraw(`${path}/steps!add`);
      }));
      return make("fieldset", { class: "cs-node", "data-path": at }, make("legend", {}, index ? `${index + 1}. then` : "1. first"), head, this.events(step, at), ...this.filters(step, at));
    });
    if (steps.length < 6) parts.push(make("div", { class: "cs-row" }, button("Add step", `${path}/steps!add`, () => {
      steps.push({ event: "" });
      this.redraw(`${path}/steps/${steps.length - 1}/event/0`);
    })));
    const within = make("div", { class: "cs-row", "data-path": `${path}/within` }, check("all within a time", "within" in of, `${path}!within`, (on) => {
      if (on) of.within = "7d";
      else delete of.within;
      this.redraw(`${path}!within`);
    }));
    if ("within" in of) within.append(...this.duration(of.within, `${path}/within`, (next) => {
      of.within = next;
    }));
    const begun = make("div", { class: "cs-row", "data-path": `${path}/window` }, make("span", {}, "The first step:"), ...this.window(of, "window", `${path}/window`));
    return [...parts, within, begun];
  }

  // --- names that complete what is typed

  list(name, pairs) {
    const id = `cs-list-${name}`;
    if (!document.getElementById(id)) this.lists.append(make("datalist", { id }));
    const list = document.getElementById(id);
    if (list.childElementCount !== pairs.length) list.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
    return id;
  }

  properties(event) {
    if (!event) return undefined;
    const name = `of-${event}`;
    if (!document.getElementById(`cs-list-${name}`)) {
      this.list(name, []);
      this.ask({ event }).then((found) => found && this.list(name, found.properties));
    }
    return `cs-list-${name}`;
  }

  async names() {
    this.lists.replaceChildren();
    this.known = (await this.ask({})) || this.known;
    if (this.tab === "form" && !this.body.contains(document.activeElement)) this.draw();
    else for (const [name, pairs] of Object.entries(this.known)) this.list(name, pairs);
  }

  async ask(query) {
    const workspace = document.getElementById("id_events_workspace")?.value || "";
    try {
      const reply = await fetch(`${this.urls.namesUrl}?${new URLSearchParams({ workspace, ...query })}`);
      return reply.ok ? await reply.json() : null;
    } catch {
      return null;
    }
  }

  // --- the sentence, the problems, the preview

  checkSoon() {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.check(), 250);
  }

  text() {
    return this.tab === "form" ? JSON.stringify(this.value) : this.textarea.value;
  }

  async check() {
    if (!this.text().trim()) return this.tell("", []);
    const turn = ++this.asked;
    try {
      const reply = await this.post(this.urls.checkUrl, this.text());
      const said = await reply.json();
      if (turn === this.asked) this.tell(said.sentence, said.problems);
    } catch {
      if (turn === this.asked) this.tell("", [["", "The server does not answer; what you type is kept here."]]);
    }
  }

  tell(sentence, problems) {
    this.sentence.textContent = sentence;
    this.sentence.hidden = !sentence;
    for (const old of this.body.querySelectorAll(".cs-problem")) old.remove();
    for (const one of this.body.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
    const left = [];
    for (const [pointer, message] of problems) if (this.tab !== "form" || !this.place(pointer, message)) left.push([pointer, message]);
    this.problems.replaceChildren(...left.map(([pointer, message]) => make("li", {}, pointer ? `${pointer}: ${message}` : message)));
  }

  // Put a problem beside the field that it is about: the one with the longest path that leads there.
  place(pointer, message) {
    const leads = (path) => pointer === path || pointer.startsWith(`${path}/`);
    const longest = (name) => [...this.body.querySelectorAll(`[data-${name}]`)]
      .filter((one) => leads(one.dataset[name])).sort((a, b) => b.dataset[name].length - a.dataset[name].length)[0];
    const box = longest("path");
    if (!box) return false;
    const id = `cs-problem-${++this.numbers}`;
    const said = make("p", { class: "cs-problem", id }, message);
    if (box.classList.contains("cs-row")) box.after(said);
    else box.append(said);
    const control = longest("at");
    const first = control && box.contains(control) ? control : box.querySelector("input:not([type=checkbox])");
    if (first) {
      first.setAttribute("aria-invalid", "true");
      first.setAttribute("aria-describedby", id);
    }
    return true;
  }

  post(url, body) {
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    return fetch(url, { method: "POST", headers: { "X-CSRFToken": token, "Content-Type": "application/json" }, body });
  }

  async preview() {
    try {
      const definition = JSON.parse(this.text());
      if (!this.asOf.validity.valid) throw new Error("the date and time of “as of” are not complete.");
      await askPreview(this, {
        source_kind: "behavioral", definition, events_workspace: document.getElementById("id_events_workspace")?.value,
        as_of: this.asOf.value,
      });
    } catch (error) {
      this.panel.replaceChildren(make("p", { class: "cs-problem" }, `No preview: ${error.message}`));
    }
  }
}

async function askPreview(builder, wanted) {
  const reply = await builder.post(builder.urls.previewUrl, JSON.stringify(wanted));
  const said = reply.headers.get("Content-Type").includes("json") ? await reply.json() : { error: `The server answered ${reply.status}.` };
  if (!reply.ok) throw new Error(said.error);
  builder.panel.dataset.url = said.url;
  builder.panel.replaceChildren();
  followPreview(builder.panel);
}

// A query has the same preview, below its own field.
function queryPreview(builder) {
  const query = document.getElementById("id_query_sql");
  if (!query) return;
  const own = { urls: builder.urls, panel: make("div", { "aria-live": "polite" }), post: builder.post };
  const press = async () => {
    try {
      await askPreview(own, { source_kind: "query", query_database: document.getElementById("id_query_database").value, query_sql: query.value });
    } catch (error) {
      own.panel.replaceChildren(make("p", { class: "cs-problem" }, `No preview: ${error.message}`));
    }
  };
  query.after(make("div", { class: "cs-row" }, button("Preview", "query-preview", press)), own.panel);
}

if (field && field.dataset.checkUrl) {
  const builder = new Builder(field);
  builder.start();
  queryPreview(builder);
}
