// Where conditions stand, and how one gets elsewhere. A path is the JSON pointer of an item of a group's list, from
// "/where" on. Nothing here knows the page.
import { isGroup } from "./definition.js";

// Return what stands at a path.
export function at(where, path) {
  return path.split("/").slice(2).reduce((one, key) => one?.[key], where);
}

// Return the path of an item's list, and its place there.
export function split(path) {
  const cut = path.lastIndexOf("/");
  return [path.slice(0, cut), Number(path.slice(cut + 1))];
}

// Return what a node is without the "not" before it: the node, its path, how many there were.
export function unwrapped(node, path) {
  let [inner, below, nots] = [node, path, 0];
  while (inner && typeof inner === "object" && inner.not !== undefined && Object.keys(inner).length === 1) {
    [inner, below, nots] = [inner.not, `${below}/not`, nots + 1];
  }
  return { inner, below, nots };
}

export function groupKey(node) {
  return ["all", "any"].find((key) => node && typeof node === "object" && isGroup(key, node));
}

// Yield each list of conditions with its path, from the outermost on.
export function* lists(where, path = "/where") {
  const { inner, below } = unwrapped(where, path);
  const key = groupKey(inner);
  if (!key) return;
  yield [inner[key], `${below}/${key}`];
  for (const [index, child] of inner[key].entries()) yield* lists(child, `${below}/${key}/${index}`);
}

// Return where a step up (-1) or down (1) leads: a list and the place before which the item would stand. Into a group
// that is next to it, out of its own at the end; null at the end of all.
export function step(where, path, by) {
  const [listPath, index] = split(path);
  const list = at(where, listPath);
  const next = list[index + by];
  if (next !== undefined) {
    const { inner, below } = unwrapped(next, `${listPath}/${index + by}`);
    const key = groupKey(inner);
    if (key) return [`${below}/${key}`, by < 0 ? inner[key].length : 0];
    return [listPath, by < 0 ? index - 1 : index + 2];
  }
  const outer = /^(.*\/\d+)(?:\/[a-z]+)+$/.exec(listPath);
  if (!outer) return null;
  const [outerList, place] = split(outer[1]);
  return [outerList, by < 0 ? place : place + 1];
}

// Put the item at a path before a place of a list; return its new path, null when it would stand within itself.
export function moveTo(where, path, listPath, place) {
  if (listPath === path || listPath.startsWith(`${path}/`)) return null;
  const [fromPath, from] = split(path);
  const [source, target] = [at(where, fromPath), at(where, listPath)];
  const [item] = source.splice(from, 1);
  target.splice(source === target && from < place ? place - 1 : place, 0, item);
  for (const [list, found] of lists(where)) {
    if (list === target) return `${found}/${list.indexOf(item)}`;
  }
  return null;
}

// Put a copy of an item behind it; return the copy's path.
export function duplicate(where, path) {
  const [listPath, index] = split(path);
  const list = at(where, listPath);
  list.splice(index + 1, 0, structuredClone(list[index]));
  return `${listPath}/${index + 1}`;
}
