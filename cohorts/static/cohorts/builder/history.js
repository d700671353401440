// What was there before: texts of the definition, to undo and redo. Nothing here knows the page.

const MOST = 200;

export class History {
  constructor(text) {
    this.now = text;
    this.past = [];
    this.future = [];
    this.key = null;
  }

  // Keep a text. What is typed into one control (`key`) is one step, until something else is done.
  note(text, key = null) {
    if (text === this.now) return;
    if (key === null || key !== this.key) this.past.push(this.now);
    if (this.past.length > MOST) this.past.shift();
    this.now = text;
    this.key = key;
    this.future = [];
  }

  // Return the text of one step back; null when there is none.
  undo() { return this.step(this.past, this.future); }

  redo() { return this.step(this.future, this.past); }

  step(from, to) {
    if (!from.length) return null;
    to.push(this.now);
    this.now = from.pop();
    this.key = null;
    return this.now;
  }
}
