// What the form does to a definition's JSON. Nothing here knows the page, or the words of the grammar: they come
// from the server.

// Return the JSON of a text as a definition whose `where` is a group; null when it is none.
export function readDefinition(text) {
  try {
    const value = JSON.parse(text);
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

// Return what a new condition of a kind holds.
export function freshCondition(kind) {
  const fresh = {
    performed: { event: "" },
    sequence: { steps: [{ event: "" }, { event: "" }] },
    user: { property: "", "=": "" },
    more: { first: { event: "" }, than: { event: "" } },
    cohort: "",
    sample: { percent: 10, salt: "" },
  };
  return fresh[kind];
}

export function isGroup(key, node) {
  return ["all", "any"].includes(key) && Array.isArray(node[key]);
}

// --- Properties: `shapes` says for each operator what its value is

const MANY = ["list", "pair"];

export function operatorOf(property, shapes) {
  return Object.keys(shapes).find((sign) => sign in property) || "=";
}

// Return what the value of an operator becomes when another takes its place.
export function valueFor(next, kept, op, shapes) {
  const shape = shapes[next];
  if (shape === "none") return true;
  if (shape === "duration") return shapes[op] === "duration" ? kept : "30d";
  const fits = MANY.includes(shape) === MANY.includes(shapes[op]) && !["none", "duration"].includes(shapes[op]);
  if (fits) return kept;
  return MANY.includes(shape) ? [] : "";
}

// Put another operator in the place of a property's; what it says of texts or dates goes when it says nothing there.
export function changeOperator(property, next, shapes) {
  const op = operatorOf(property, shapes);
  const value = valueFor(next, property[op], op, shapes);
  delete property[op];
  if (["none", "duration", "text", "pattern"].includes(shapes[next])) delete property.type;
  if (!canIgnoreCase(next, shapes)) delete property.ignore_case;
  property[next] = value;
}

export function canIgnoreCase(op, shapes) {
  return ["any", "text", "pattern", "list"].includes(shapes[op]);
}

// Return the type of a value; of one that is still empty, the type that is `known` of the property.
export function typeOf(property, value, known = "string") {
  const one = Array.isArray(value) ? value[0] : value;
  const empty = one === "" || one === undefined;
  return { number: "number", boolean: "boolean" }[typeof one] || property.type || (empty ? known : "string");
}

function typed(text, type) {
  if (type === "number") return text.trim() && Number.isFinite(Number(text)) ? Number(text) : text;
  return type === "boolean" ? text.trim() === "true" : text;
}

// Return the value that a text in the form stands for; several are separated by commas.
export function readValue(text, type, many) {
  return many ? text.split(",").map((one) => typed(one.trim(), type)) : typed(text, type);
}

export function showValue(value) {
  return Array.isArray(value) ? value.join(", ") : String(value ?? "");
}

// --- What is asked of one event: comparisons, each alone or as {"any": […]}

// Put an alternative beside what is asked at an index.
export function addAlternative(where, index) {
  const one = where[index];
  const fresh = { property: "", "=": "" };
  if (Array.isArray(one.any)) one.any.push(fresh);
  else where[index] = { any: [one, fresh] };
}

// Take one of the alternatives away; the last that is left stands alone.
export function removeAlternative(where, index, n) {
  const { any } = where[index];
  any.splice(n, 1);
  if (any.length === 1) [where[index]] = any;
}

// --- Measures and comparisons

const OF_NO_PROPERTY = ["count", "days", "weeks"];

export function measureOf(performed, measures) {
  return Object.keys(measures).find((one) => one && one in performed) || "";
}

export function changeMeasure(performed, next, measures) {
  delete performed[measureOf(performed, measures)];
  delete performed.or_never;
  const fresh = {
    first: { last: "30d" },
    last: { last: "30d" },
    nth: { n: 1, window: { last: "30d" } },
    periods: { of: "day", ">=": 3 },
    percentile: { property: "", percent: 90, ">=": 1 },
  };
  if (next in fresh) performed[next] = fresh[next];
  else if (next) performed[next] = { ...(OF_NO_PROPERTY.includes(next) ? {} : { property: "" }), ">=": 1 };
}

export function comparisonOf(compared, comparisons) {
  return Object.keys(comparisons).find((one) => one in compared) || ">=";
}

export function changeComparison(compared, next, comparisons) {
  const op = comparisonOf(compared, comparisons);
  const kept = [compared[op]].flat();
  delete compared[op];
  compared[next] = next === "between" ? [kept[0], kept[1] ?? kept[0]] : kept[0];
}

// --- Time

export function windowKind(window) {
  if (!window || window === "all_time") return "all_time";
  return ["last", "between_ago", "this", "previous"].find((kind) => window[kind]) || "dates";
}

export function freshWindow(kind, today) {
  const fresh = {
    last: { last: "30d" },
    between_ago: { between_ago: ["90d", "30d"] },
    dates: { from: today },
    this: { this: "month" },
    previous: { previous: "month", count: 1 },
  };
  return fresh[kind];
}

// Return the amount and the unit of a duration, as texts: ["30", "d"].
export function splitDuration(value, units) {
  const match = /^(\d*)([a-z])$/.exec(value);
  return match && match[2] in units ? [match[1], match[2]] : ["", "d"];
}

// --- Problems

// Return the longest of the paths that lead to a place in the JSON; undefined when none does.
export function longestLeading(paths, pointer) {
  const leads = paths.filter((path) => pointer === path || pointer.startsWith(`${path}/`));
  return leads.sort((a, b) => b.length - a.length)[0];
}
