// What one types into a form of the admin survives a session that ends, another tab's login, a reload: it is kept
// in this tab's storage until it is saved, and offered where it was typed. Secrets and files are never kept.
"use strict";

const DRAFT = "cohort-sync-draft:";
const SECRET = /csrf|credential|secret|password|token|^_|^seen|^text$/i;
// In the head: the address of a form stays the same when its reply shows it again.
const here = DRAFT + window.location.pathname;

function kept(control) {
  return control.name && !SECRET.test(control.name) && !["hidden", "file", "password", "submit", "button"].includes(control.type);
}

function read(form) {
  const fields = {};
  for (const control of form.elements) {
    if (!kept(control)) continue;
    if (["checkbox", "radio"].includes(control.type)) {
      if (control.type === "radio" && !control.checked) continue;
      fields[control.name] = control.type === "radio" ? control.value : control.checked;
    } else if (control.tagName === "SELECT") {
      fields[control.name] = [...control.selectedOptions].map((one) => [one.value, one.text]);
    } else fields[control.name] = control.value;
  }
  return fields;
}

function write(form, fields) {
  for (const control of form.elements) {
    if (!kept(control) || !(control.name in fields)) continue;
    const value = fields[control.name];
    if (control.type === "radio") control.checked = control.value === value;
    else if (control.type === "checkbox") control.checked = value;
    else if (control.tagName === "SELECT") {
      for (const [key, text] of value) {
        if (![...control.options].some((one) => one.value === key)) control.add(new Option(text, key));
      }
      for (const option of control.options) option.selected = value.some(([key]) => key === option.value);
    } else control.value = value;
    // What follows a field (conditional fields, the builder, a plan) listens for these.
    control.dispatchEvent(new Event("input", { bubbles: true }));
    control.dispatchEvent(new Event("change", { bubbles: true }));
  }
}

function stored(key) {
  try {
    return JSON.parse(window.sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

function store(key, draft) {
  try {
    window.sessionStorage.setItem(key, JSON.stringify(draft));
  } catch {
    // The storage is full or switched off: then there is no draft.
  }
}

// What was sent is saved once the server says so, or leads on to another page.
function forgetWhatIsSaved() {
  const isDone = document.querySelector("[data-done]") !== null;
  for (const key of Object.keys(window.sessionStorage)) {
    if (key.startsWith(DRAFT) && stored(key)?.sent && (key !== here || isDone)) window.sessionStorage.removeItem(key);
  }
}

function offer(form, draft) {
  const box = document.createElement("div");
  box.className = "cs-draft";
  box.setAttribute("role", "status");
  const words = document.createElement("p");
  words.textContent = `What you entered here at ${draft.at} was not saved.`;
  const button = (text, does) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", () => {
      does();
      box.remove();
    });
    return made;
  };
  const back = button("Put it back", () => store(here, { ...draft, restore: true, sent: false }));
  back.addEventListener("click", () => window.location.reload());
  box.append(words, back, button("Throw it away", () => window.sessionStorage.removeItem(here)));
  form.before(box);
}

function follow(form) {
  let before = null;
  const keep = (event) => {
    // What a person does, after the scripts that follow it; scripts alone change nothing that is worth keeping.
    if (event.isTrusted) window.setTimeout(() => {
      const fields = read(form);
      if (JSON.stringify(fields) === before) return;
      store(here, { fields, at: new Date().toLocaleTimeString([], { timeStyle: "short" }) });
    });
  };
  form.addEventListener("focusin", () => (before ??= JSON.stringify(read(form))));
  form.addEventListener("input", keep);
  form.addEventListener("click", keep);
  form.addEventListener("submit", () => {
    const draft = stored(here);
    if (draft) store(here, { ...draft, fields: read(form), sent: true });
  });
}

document.addEventListener("DOMContentLoaded", () => {
  // Pages that have no menu (to log in, to send again) save nothing.
  if (!document.getElementById("nav-sidebar")) return;
  forgetWhatIsSaved();
  const form = document.querySelector("body.change-form #content-main > form");
  if (!form) return;
  const draft = stored(here);
  if (draft && draft.restore) {
    store(here, { ...draft, restore: false });
    window.setTimeout(() => write(form, draft.fields));
  } else if (draft && form.querySelector(".errornote")) store(here, { ...draft, sent: false });
  else if (draft && JSON.stringify(draft.fields) !== JSON.stringify(read(form))) offer(form, draft);
  follow(form);
});
