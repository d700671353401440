// test_builder_parts.py runs it: node --test cohorts/tests/builder.test.mjs
import assert from "node:assert/strict";
import { test } from "node:test";

import * as d from "../static/cohorts/builder/definition.js";
import { History } from "../static/cohorts/builder/history.js";
import * as m from "../static/cohorts/builder/moves.js";
import { fromTemplate } from "../static/cohorts/builder/templates.js";

const SHAPES = {
  "=": "any", "!=": "any", contains: "text", matches: "pattern", ">": "order", between: "pair", in: "list", last: "duration",
  is_set: "none",
};
const MEASURES = { "": "once", count: "counted", sum: "sum", first: "first" };
const COMPARISONS = { ">=": "at least", "=": "exactly", between: "between" };

test("a definition of one condition is shown as a group of one", () => {
  assert.deepEqual(d.readDefinition('{"where": {"cohort": "a"}}').where, { all: [{ cohort: "a" }] });
  assert.deepEqual(d.readDefinition('{"where": {"any": []}}').where, { any: [] });
  assert.deepEqual(d.readDefinition("{}").where, { all: [] });
  for (const text of ["", "[]", "3", "null", "{"]) assert.equal(d.readDefinition(text), null);
});

test("an operator that takes the same kind of value keeps it", () => {
  const property = { property: "plan", "=": "free", ignore_case: true };
  d.changeOperator(property, "contains", SHAPES);
  assert.deepEqual(property, { property: "plan", contains: "free", ignore_case: true });
  d.changeOperator(property, "in", SHAPES);
  assert.deepEqual(property, { property: "plan", in: [], ignore_case: true });
  d.changeOperator(property, "is_set", SHAPES);
  assert.deepEqual(property, { property: "plan", is_set: true });
  d.changeOperator(property, "!=", SHAPES);
  assert.deepEqual(property, { property: "plan", "!=": "" });
});

test("a date that is near begins with thirty days and forgets its type", () => {
  const property = { property: "trial_end", type: "date", ">": "2024-01-01" };
  d.changeOperator(property, "last", SHAPES);
  assert.deepEqual(property, { property: "trial_end", last: "30d" });
  d.changeOperator(property, ">", SHAPES);
  assert.deepEqual(property, { property: "trial_end", ">": "" });
});

test("a value is read as its type", () => {
  assert.equal(d.readValue("5", "number", false), 5);
  assert.equal(d.readValue("5", "string", false), "5");
  assert.equal(d.readValue("five", "number", false), "five");
  assert.equal(d.readValue(" true ", "boolean", false), true);
  assert.deepEqual(d.readValue("1, 2,x", "number", true), [1, 2, "x"]);
  assert.equal(d.showValue(["a", "b"]), "a, b");
  assert.equal(d.showValue(undefined), "");
});

test("the type is the value's own, else what is written", () => {
  assert.equal(d.typeOf({}, 3), "number");
  assert.equal(d.typeOf({}, [true]), "boolean");
  assert.equal(d.typeOf({ type: "date" }, "2024-01-01"), "date");
  assert.equal(d.typeOf({}, ""), "string");
});

test("another measure begins anew, and or_never goes with the old one", () => {
  const performed = { event: "e", count: { ">=": 3 }, or_never: true };
  d.changeMeasure(performed, "sum", MEASURES);
  assert.deepEqual(performed, { event: "e", sum: { property: "", ">=": 1 } });
  d.changeMeasure(performed, "first", MEASURES);
  assert.deepEqual(performed, { event: "e", first: { last: "30d" } });
  d.changeMeasure(performed, "", MEASURES);
  assert.deepEqual(performed, { event: "e" });
});

test("a comparison keeps its number", () => {
  const compared = { property: "p", ">=": 3 };
  d.changeComparison(compared, "between", COMPARISONS);
  assert.deepEqual(compared, { property: "p", between: [3, 3] });
  d.changeComparison(compared, "=", COMPARISONS);
  assert.deepEqual(compared, { property: "p", "=": 3 });
});

test("an alternative beside a comparison, and away again", () => {
  const where = [{ property: "a", "=": 1 }];
  d.addAlternative(where, 0);
  d.addAlternative(where, 0);
  assert.deepEqual(where, [{ any: [{ property: "a", "=": 1 }, { property: "", "=": "" }, { property: "", "=": "" }] }]);
  d.removeAlternative(where, 0, 2);
  d.removeAlternative(where, 0, 1);
  assert.deepEqual(where, [{ property: "a", "=": 1 }]);
});

test("weeks are counted, of no property", () => {
  const performed = { event: "e" };
  d.changeMeasure(performed, "weeks", { ...MEASURES, weeks: "in different weeks" });
  assert.deepEqual(performed, { event: "e", weeks: { ">=": 1 } });
});

test("windows are told apart", () => {
  const kinds = [
    undefined, "all_time", { last: "1d" }, { between_ago: ["2d", "1d"] }, { to: "2024-01-01" }, { this: "day" }, { previous: "week" },
  ].map(d.windowKind);
  assert.deepEqual(kinds, ["all_time", "all_time", "last", "between_ago", "dates", "this", "previous"]);
  assert.deepEqual(d.freshWindow("dates", "2024-05-01"), { from: "2024-05-01" });
});

test("a duration that is not written whole can be written on", () => {
  const units = { m: "minutes", d: "days" };
  assert.deepEqual(d.splitDuration("30m", units), ["30", "m"]);
  assert.deepEqual(d.splitDuration("d", units), ["", "d"]);
  assert.deepEqual(d.splitDuration("4x", units), ["", "d"]);
  assert.deepEqual(d.splitDuration(undefined, units), ["", "d"]);
});

test("a problem stands at the longest path that leads to it", () => {
  const paths = ["/where", "/where/all/1", "/where/all/10", "/where/all/1/performed"];
  assert.equal(d.longestLeading(paths, "/where/all/1/performed/event"), "/where/all/1/performed");
  assert.equal(d.longestLeading(paths, "/where/all/10/x"), "/where/all/10");
  assert.equal(d.longestLeading(paths, "/timezone"), undefined);
});

test("the type of a value that is still empty is what is known of its property", () => {
  assert.equal(d.typeOf({}, "", "number"), "number");
  assert.equal(d.typeOf({}, "x", "number"), "string");
  assert.equal(d.typeOf({ type: "date" }, "", "number"), "date");
  assert.equal(d.typeOf({}, [], "boolean"), "boolean");
});

const forest = () => ({ all: ["a", { not: { any: ["b", "c"] } }, "d"] });

test("a step leads past a condition, into a group and out of it, and nowhere at the ends", () => {
  const where = forest();
  assert.deepEqual(m.step(where, "/where/all/0", 1), ["/where/all/1/not/any", 0]);
  assert.deepEqual(m.step(where, "/where/all/2", -1), ["/where/all/1/not/any", 2]);
  assert.deepEqual(m.step(where, "/where/all/1/not/any/0", 1), ["/where/all/1/not/any", 2]);
  assert.deepEqual(m.step(where, "/where/all/1/not/any/0", -1), ["/where/all", 1]);
  assert.deepEqual(m.step(where, "/where/all/1/not/any/1", 1), ["/where/all", 2]);
  assert.deepEqual(m.step(where, "/where/all/1", 1), ["/where/all", 3]);
  assert.equal(m.step(where, "/where/all/0", -1), null);
  assert.equal(m.step(where, "/where/all/2", 1), null);
});

test("what is moved is found where it went, though the paths behind it shift", () => {
  const where = forest();
  assert.equal(m.moveTo(where, "/where/all/0", "/where/all/1/not/any", 1), "/where/all/0/not/any/1");
  assert.deepEqual(where, { all: [{ not: { any: ["b", "a", "c"] } }, "d"] });
  assert.equal(m.moveTo(where, "/where/all/0", "/where/all", 2), "/where/all/1");
  assert.equal(m.moveTo(where, "/where/all/1/not/any/0", "/where/all", 0), "/where/all/0");
  assert.deepEqual(where, { all: ["b", "d", { not: { any: ["a", "c"] } }] });
});

test("nothing is moved into itself", () => {
  const where = forest();
  assert.equal(m.moveTo(where, "/where/all/1", "/where/all/1/not/any", 0), null);
  assert.deepEqual(where, forest());
});

test("a copy stands behind its model and is its own", () => {
  const where = { any: [{ performed: { event: "a" } }] };
  assert.equal(m.duplicate(where, "/where/any/0"), "/where/any/1");
  where.any[1].performed.event = "b";
  assert.equal(where.any[0].performed.event, "a");
});

test("what is typed into one field is one step back; what is done anew forgets what was undone", () => {
  const history = new History("0");
  for (const [text, key] of [["1", "x"], ["12", "x"], ["12", "x"], ["3", null], ["4", "x"]]) history.note(text, key);
  assert.equal(history.undo(), "3");
  assert.equal(history.undo(), "12");
  assert.equal(history.undo(), "0");
  assert.equal(history.undo(), null);
  assert.equal(history.redo(), "12");
  history.note("5", "x");
  assert.equal(history.redo(), null);
  assert.equal(history.undo(), "12");
});

test("only so many steps are kept", () => {
  const history = new History("0");
  for (let n = 1; n <= 500; n += 1) history.note(String(n));
  assert.equal(history.past.length, 200);
});

test("templates take the names that came, and leave open what they do not find", async () => {
  const none = async () => [];
  const shop = ["page_view", "Added to Cart", "Order Completed", "order_viewed"];
  const left = await fromTemplate("left_cart", shop, none);
  assert.deepEqual(left.where.all.map((one) => (one.not || one).performed.event), ["Added to Cart", "Order Completed"]);
  const spent = await fromTemplate("big_spender", shop, async () => [["sku", "string"], ["pieces", "number"], ["revenue", "number"]]);
  assert.deepEqual(spent.where.all[0].performed.sum, { property: "revenue", ">=": 100 });
  const nothing = await fromTemplate("then_not", [], none);
  assert.deepEqual(nothing.where.all[0].sequence.steps, [{ event: "" }, { event: "", absent: true }]);
});
