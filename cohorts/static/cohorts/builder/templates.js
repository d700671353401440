// Definitions to begin with, written with the events that came in. Nothing here knows the page; the labels are the server's.

const BUY = [/purchas|bought|\bbuy/i, /order.*(complet|paid|placed)|checkout.*(complet|done)|transaction|payment/i, /order|checkout|paid/i];
const CART = [/add.*(cart|basket|bag)|(cart|basket|bag).*add/i, /cart|basket|bag\b/i];
const AMOUNT = /^\$?(revenue|total|amount|price|value|order_total)$/i;

// Return the first name that one of the patterns fits, by the patterns' order; "" when none does.
function like(names, patterns) {
  for (const pattern of patterns) {
    const found = names.find((name) => pattern.test(name));
    if (found) return found;
  }
  return "";
}

const did = (event, more = {}) => ({ performed: { event, ...more } });
const last = (text) => ({ window: { last: text } });

const WHERE = {
  new: () => [did("*", { first: { last: "30d" } })],
  active: () => [did("*", { days: { ">=": 3 }, ...last("7d") })],
  lapsed: () => [did("*"), { not: did("*", last("30d")) }],
  left_cart: ({ cart, buy }) => [did(cart, last("7d")), { not: did(buy, last("7d")) }],
  big_spender: ({ buy, amount }) => [did(buy, { sum: { property: amount, ">=": 100 }, ...last("90d") })],
  then_not: ({ cart, buy }) => [{ sequence: { steps: [{ event: cart }, { event: buy, absent: true }], within: "7d" } }],
};

// Return the definition of a template; `events` are names, the most frequent first, `properties` tells those of one
// event as pairs (name, type). What is not found is left empty, to be filled in.
export async function fromTemplate(name, events, properties) {
  const buy = like(events, BUY);
  const cart = like(events.filter((one) => one !== buy), CART);
  const known = { buy, cart, amount: "" };
  if (name === "big_spender" && buy) {
    const numbers = (await properties(buy)).filter(([, type]) => type === "number").map(([property]) => property);
    known.amount = numbers.find((property) => AMOUNT.test(property)) ?? numbers[0] ?? "";
  }
  return { version: 1, where: { all: WHERE[name](known) } };
}
