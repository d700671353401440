// What the form asks of the server: is the definition right, and a preview.
import { make } from "./dom.js";

export function post(url, body) {
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  return fetch(url, { method: "POST", headers: { "X-CSRFToken": token, "Content-Type": "application/json" }, body });
}

export async function askPreview(url, panel, wanted) {
  const reply = await post(url, JSON.stringify(wanted));
  const isJson = reply.headers.get("Content-Type").includes("json");
  const said = isJson ? await reply.json() : { error: `The server answered ${reply.status}.` };
  if (!reply.ok) throw new Error(said.error);
  panel.dataset.url = said.url;
  panel.replaceChildren();
  window.followPreview(panel);
}

export function noPreview(panel, error) {
  panel.replaceChildren(make("p", { class: "cs-problem" }, `No preview: ${error.message}`));
}
