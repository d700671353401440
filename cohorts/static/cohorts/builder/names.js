// Names that complete what is typed: events, properties, cohorts, as the server knows them.
import { make } from "./dom.js";

export class Names {
  constructor(url) {
    this.url = url;
    this.lists = make("div", { hidden: true });
    this.known = { events: [], users: [], cohorts: [] };
  }

  events() { return this.list("events", this.known.events); }

  users() { return this.list("users", this.known.users); }

  cohorts() { return this.list("cohorts", this.known.cohorts); }

  // Return the id of a datalist of pairs (name, what it says beside it).
  list(name, pairs) {
    const id = `cs-list-${name}`;
    if (!document.getElementById(id)) this.lists.append(make("datalist", { id }));
    const list = document.getElementById(id);
    if (list.childElementCount !== pairs.length) {
      list.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
    }
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

  async renew() {
    this.lists.replaceChildren();
    this.known = (await this.ask({})) || this.known;
    for (const [name, pairs] of Object.entries(this.known)) this.list(name, pairs);
  }

  async ask(query) {
    const workspace = document.getElementById("id_events_workspace")?.value || "";
    try {
      const reply = await fetch(`${this.url}?${new URLSearchParams({ workspace, ...query })}`);
      return reply.ok ? await reply.json() : null;
    } catch {
      return null;
    }
  }
}
