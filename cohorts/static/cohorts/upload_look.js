// Shows how a chosen file is understood, before it is sent: its beginning goes to the server, which reads it.
"use strict";

// What is read to understand a text; archives, workbooks and Parquet are read from their end.
const BEGINNING = 256 * 1024;
const WHOLE = 16 * 1024 * 1024;
const uploadForm = document.getElementById("upload-form");
let latest = 0;

async function isReadFromItsEnd(file) {
  const first = new TextDecoder("latin1").decode(await file.slice(0, 4).arrayBuffer());
  return first === "PK\x03\x04" || first === "PAR1";
}

async function look() {
  const shown = document.getElementById("upload-look");
  const file = uploadForm.elements.file.files[0];
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
  try {
    const reply = await fetch(uploadForm.dataset.lookUrl, { method: "POST", body });
    if (asked !== latest) return;
    if (!reply.ok) throw new Error(reply.status);
    shown.innerHTML = await reply.text();
  } catch {
    if (asked === latest) shown.textContent = "The file could not be shown. You can upload it all the same.";
    return;
  }
  const open = shown.querySelector("[data-asks]");
  if (open && ["heading", "separator", "encoding", "kind"].includes(open.dataset.asks)) {
    document.getElementById("upload-seldom").open = true;
  }
}

uploadForm.addEventListener("change", look);
uploadForm.addEventListener("click", (event) => {
  const button = event.target.closest("[data-column]");
  if (!button) return;
  uploadForm.elements.column.value = button.dataset.column;
  look();
});
