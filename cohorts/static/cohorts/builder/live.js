// How many belong to it now, and how many pass each condition: counted by the worker while one types.
import { button, make } from "./dom.js";
import { at, lists } from "./moves.js";
import { post } from "./server.js";

// Milliseconds after the last change, and between two looks, which grow.
const REST = 600;
const LOOKS = [250, 400, 700, 1200, 2000];
const MOST_LOOKS = 60;

export class Live {
  constructor(url) {
    this.url = url;
    this.words = make("span", {});
    this.button = button("Count now", "count", () => this.ask());
    this.line = make("p", { class: "cs-size", role: "status" }, this.words, " ", this.button);
    this.passed = new WeakMap();
    this.turn = 0;
    this.wanted = null;
  }

  // Something was changed: what was counted is about something else now. `wanted` is what to count, null while it is
  // not whole.
  follow(wanted) {
    window.clearTimeout(this.timer);
    if (wanted && this.counted === wanted.body) return;
    this.wanted = wanted;
    this.line.classList.add("cs-stale");
    this.turn += 1;
    this.button.hidden = !wanted || this.began;
    if (wanted && this.began) this.timer = window.setTimeout(() => this.ask(), REST);
  }

  // From the first change on it counts by itself; a form that is only looked at costs nothing.
  begin() {
    this.began = true;
    this.button.hidden = true;
  }

  async ask() {
    if (!this.wanted) return;
    this.begin();
    const turn = ++this.turn;
    const { body, where } = this.wanted;
    const items = [...lists(where)].flatMap(([list, path]) => list.map((_, index) => `${path}/${index}`));
    const nodes = new Map(items.map((path) => [path, at(where, path)]));
    try {
      const reply = await post(this.url, body);
      if (!reply.ok || turn !== this.turn) return;
      const found = await this.awaited((await reply.json()).url, turn);
      if (found && turn === this.turn) this.show(found, nodes, body);
    } catch {
      // The server will answer again when something is changed.
    }
  }

  // Look until it has been counted; null when something newer was asked for, or nobody counts.
  async awaited(url, turn) {
    for (let look = 0; look < MOST_LOOKS; look += 1) {
      await new Promise((done) => { window.setTimeout(done, LOOKS[Math.min(look, LOOKS.length - 1)]); });
      if (turn !== this.turn) return null;
      const reply = await fetch(url);
      if (!reply.ok) return null;
      const found = await reply.json();
      if (!found.open) return found;
      if (look >= LOOKS.length) this.say(found.waiting ? "Waiting for a worker to count …" : "Still counting …");
    }
    return null;
  }

  say(text) {
    if (this.words.textContent !== text) this.words.textContent = text;
  }

  show(found, nodes, body) {
    if (found.error) return this.say(`Not counted: ${found.error}`);
    this.counted = body;
    for (const [path, node] of nodes) {
      if (node && typeof node === "object" && path in found.conditions) {
        this.passed.set(node, { count: found.conditions[path], of: found.everyone });
      }
    }
    const shown = (number) => number.toLocaleString("en");
    this.say(`${shown(found.size)} of ${shown(found.everyone)} known people belong to it now.`);
    this.line.classList.remove("cs-stale");
    for (const bar of document.querySelectorAll(".cs-node")) this.mark(bar, bar.csNode);
  }

  // Put on a line how many pass it, as far as that is known.
  mark(element, node) {
    element.csNode = node;
    const known = node && typeof node === "object" ? this.passed.get(node) : undefined;
    element.querySelector(":scope > .cs-share")?.remove();
    if (!known) return;
    const share = known.of ? (100 * known.count) / known.of : 0;
    const bar = make("span", { class: "cs-bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", `${share}%`);
    const text = `${known.count.toLocaleString("en")} pass · ${share > 0 && share < 1 ? "under 1" : Math.round(share)} %`;
    element.append(make("span", { class: "cs-share" }, bar, make("span", {}, text)));
  }
}
