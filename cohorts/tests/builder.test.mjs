// test_builder_parts.py runs it: node --test cohorts/tests/builder.test.mjs
import assert from "node:assert/strict";
import { test } from "node:test";

import * as d from "../static/cohorts/builder/definition.js";

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
