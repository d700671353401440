// Names and values that complete what is typed: events, properties, cohorts, as the server knows them.
import { make } from "./dom.js";

export class Names {
  constructor(urls) {
    this.urls = urls;
    this.lists = make("div", { hidden: true });
    this.known = { events: [], users: [], cohorts: [], defined: [] };
    this.of = new Map();
    this.asked = new Map();
  }

  events() { return this.list("events", this.known.events); }

  cohorts() { return this.list("cohorts", this.known.cohorts); }

  // Return the id of a datalist of pairs (name, what it says beside it).
  list(name, pairs) {
    const id = `cs-list-${name}`;
    const known = [...this.lists.children].find((one) => one.id === id);
    const list = known || make("datalist", { id });
    if (!known) this.lists.append(list);
    if (list.childElementCount !== pairs.length) {
      list.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
    }
    return id;
  }

  // The properties of an event, or with "" of the user.
  properties(event) {
    if (!event) return this.list("users", this.known.users);
    this.propertiesOf(event).then((found) => this.list(`of-${event}`, found));
    return this.list(`of-${event}`, this.of.get(event) || []);
  }

  async propertiesOf(event) {
    const found = await this.once(this.urls.namesUrl, { event });
    this.of.set(event, found?.properties || []);
    return this.of.get(event);
  }

  // The type of all values of a property; undefined while it is not known.
  typeOf(event, property) {
    const pairs = (event ? this.of.get(event) : this.known.users) || [];
    return pairs.find(([name]) => name === property)?.[1];
  }

  // The values that a property has had, with how often each came.
  values(event, property) {
    const name = `values-${event}-${property}`;
    if (!property) return this.list(name, []);
    this.once(this.urls.valuesUrl, { event, property }).then((found) => this.list(name, found?.values || []));
    return this.list(name, []);
  }

  async renew() {
    this.lists.replaceChildren();
    this.of.clear();
    this.asked.clear();
    this.known = (await this.ask(this.urls.namesUrl, {})) || this.known;
    this.list("users", this.known.users);
  }

  once(url, query) {
    const key = JSON.stringify([url, query]);
    if (!this.asked.has(key)) this.asked.set(key, this.ask(url, query));
    return this.asked.get(key);
  }

  async ask(url, query) {
    const workspace = document.getElementById("id_events_workspace")?.value || "";
    try {
      const reply = await fetch(`${url}?${new URLSearchParams({ workspace, ...query })}`);
      return reply.ok ? await reply.json() : null;
    } catch {
      return null;
    }
  }
}
