// Shows how a chosen file is understood, before it is sent: its beginning goes to the server, which reads it.
// Where columns may become fields (data-choose: always, or while #upload-fields is open), these are named in
// the table's head, and written down in the form's lines `field:type=column`.
"use strict";

// What is read to understand a text; archives, workbooks and Parquet are read from their end.
const BEGINNING = 256 * 1024;
const WHOLE = 16 * 1024 * 1024;
const uploadForm = document.getElementById("upload-form");
const shown = document.getElementById("upload-look");
const details = document.getElementById("upload-fields");
const lines = uploadForm.elements.mapped;
let latest = 0;

async function isReadFromItsEnd(file) {
  const first = new TextDecoder("latin1").decode(await file.slice(0, 4).arrayBuffer());
  return first === "PK\x03\x04" || first === "PAR1";
}

async function look({ suggest = false } = {}) {
  const file = uploadForm.elements.file?.files[0];
  const asked = ++latest;
  if (!file) return shown.replaceChildren();
  const whole = file.size <= BEGINNING || (await isReadFromItsEnd(file));
  if (whole && file.size > WHOLE) {
    shown.textContent = "The file is too large to be shown first. The worker reads it, and refuses what is not certain.";
    return;
  }
  const body = new FormData(uploadForm);
  body.set("file", whole ? file : file.slice(0, BEGINNING), "beginning");
  body.set("name", file.name);
  if (whole) body.set("whole", "on");
  if (lines && (uploadForm.dataset.choose || details?.open)) body.set("choose", "on");
  if (suggest) body.set("suggest", "on");
  try {
    const reply = await fetch(uploadForm.dataset.lookUrl, { method: "POST", body });
    if (asked !== latest) return;
    if (!reply.ok) throw new Error(reply.status);
    const at = shown.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = shown.querySelector("[role=region]")?.scrollLeft ?? 0;
    shown.innerHTML = await reply.text();
    if (scrolled) shown.querySelector("[role=region]").scrollLeft = scrolled;
    if (at) document.getElementById(at)?.focus();
  } catch {
    if (asked === latest) shown.textContent = "The file could not be shown. You can upload it all the same.";
    return;
  }
  const open = shown.querySelector("[data-asks]");
  if (open && ["heading", "separator", "encoding", "kind"].includes(open.dataset.asks)) {
    document.getElementById("upload-seldom").open = true;
  }
  const suggested = shown.querySelector("[data-suggested]");
  if (suggested && !lines.value.trim()) {
    lines.value = suggested.dataset.suggested;
    look();
  }
}

const typeOf = (field) => (["email", "phone"].includes(field) ? field : "text");

// Writes the lines anew from what the table's head says. A type that its field's name says is not written.
function writeLines() {
  const said = [];
  for (const input of shown.querySelectorAll("[data-field-of]")) {
    const field = input.value.trim();
    if (!field) continue;
    const type = input.parentElement.querySelector("[data-type-of]").value;
    said.push(`${field}${type === typeOf(field) || field.includes(":") ? "" : `:${type}`}=${input.dataset.fieldOf}`);
  }
  lines.value = said.join("\n");
}

// The type stands next to a field's name as soon as there is one, where Tab leads to it.
shown.addEventListener("input", (event) => {
  const input = event.target.closest("[data-field-of]");
  if (!input) return;
  const select = input.parentElement.querySelector("[data-type-of]");
  if (select.hidden || typeOf(input.value.trim()) !== "text") select.value = typeOf(input.value.trim());
  select.hidden = !input.value.trim();
});

// A file that is dropped anywhere on the form is as one that was chosen.
uploadForm.addEventListener("dragover", (event) => event.preventDefault());
uploadForm.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  uploadForm.elements.file.files = event.dataTransfer.files;
  uploadForm.elements.file.dispatchEvent(new Event("change", { bubbles: true }));
});
uploadForm.addEventListener("change", (event) => {
  if (event.target.closest("[data-field-of], [data-type-of]")) writeLines();
  look({ suggest: event.target === uploadForm.elements.file && Boolean(uploadForm.dataset.choose) });
});
uploadForm.addEventListener("click", (event) => {
  const button = event.target.closest("[data-column]");
  if (!button) return;
  uploadForm.elements.column.value = button.dataset.column;
  look();
});
// Enter in a field's name looks again; it does not send the file.
shown.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.closest("[data-field-of]")) return;
  event.preventDefault();
  writeLines();
  look();
});
details?.addEventListener("toggle", () => look());
// Who was quicker than this script, or came back to the page, has chosen already.
if (uploadForm.elements.file?.files.length) look({ suggest: Boolean(uploadForm.dataset.choose) });
