"use strict";

const AT_ONCE = 3;
const element = (id) => document.getElementById(id);
const waiting = [];
let running = 0;
let next = null;
let largest = Infinity;
const total = { files: 0, bytes: 0 };

function say(text, failed = false) {
  element("said").textContent = text;
  element("said").classList.toggle("failed", failed);
}

function sizeOf(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit += 1) bytes /= 1024;
  const digits = unit === 0 || bytes >= 100 ? 0 : 1;
  return `${bytes.toFixed(digits)} ${units[unit]}`;
}

function authorization() {
  const token = element("token").value;
  if (!token) return {};
  // A header is sent as bytes: the token in UTF-8.
  const bytes = new TextEncoder().encode(token);
  return { Authorization: `Bearer ${String.fromCharCode(...bytes)}` };
}

// --- the list

function show(file) {
  const row = element("file-row").content.cloneNode(true).firstElementChild;
  const find = (name) => row.querySelector(name);
  find(".name").textContent = file.name;
  find(".size").textContent = sizeOf(file.size);
  const time = find("time");
  time.dateTime = file.modified;
  time.textContent = new Date(file.modified).toLocaleString();
  for (const link of row.querySelectorAll("a")) link.href = file.url;
  const save = find(".save");
  save.download = file.name;
  save.setAttribute("aria-label", `Download ${file.name}`);
  const remove = find(".delete");
  remove.setAttribute("aria-label", `Delete ${file.name}`);
  remove.addEventListener("click", () => deleteFile(file, row));
  const preview = find(".preview");
  if (file.picture) {
    const picture = document.createElement("img");
    picture.src = file.url;
    picture.alt = "";
    picture.loading = "lazy";
    preview.append(picture);
  } else {
    const ending = file.name.includes(".") ? file.name.split(".").pop() : "";
    preview.textContent = ending.length < 6 ? ending.toUpperCase() : "";
  }
  return row;
}

function showTotal() {
  const { files, bytes } = total;
  element("total").textContent = `${files} ${files === 1 ? "file" : "files"}, ${sizeOf(bytes)}`;
  element("empty").hidden = files > 0;
}

function count(file, sign) {
  total.files += sign;
  total.bytes += sign * file.size;
  showTotal();
}

async function list(url = "/files") {
  const first = url === "/files";
  try {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(await answer.text());
    const said = await answer.json();
    next = said.next;
    largest = said.max_file_size;
    element("token-row").hidden = !said.token_needed;
    const rows = said.files.map(show);
    if (first) element("files").replaceChildren(...rows);
    else element("files").append(...rows);
    element("more").hidden = !next;
    total.files = said.total.files;
    total.bytes = said.total.bytes;
    showTotal();
    if (!first && rows.length) rows[0].querySelector(".name").focus();
  } catch (problem) {
    say(`The list could not be fetched: ${problem.message}`, true);
  }
}

async function deleteFile(file, row) {
  if (!confirm(`Delete ${file.name}?`)) return;
  try {
    const headers = { ...authorization(), "If-Match": file.etag };
    const answer = await fetch(file.url, { method: "DELETE", headers });
    if (!answer.ok && answer.status !== 404) throw new Error(await answer.text());
    const neighbour = row.nextElementSibling || row.previousElementSibling;
    row.remove();
    (neighbour ? neighbour.querySelector(".name") : element("choice")).focus();
    say(`${file.name} is deleted.`);
    count(file, -1);
  } catch (problem) {
    say(`${file.name} is not deleted: ${problem.message}`, true);
  }
}

// --- uploads

function offer(files) {
  for (const file of files) {
    const row = element("upload-row").content.cloneNode(true).firstElementChild;
    row.querySelector(".name").textContent = file.name;
    row.querySelector("progress").setAttribute("aria-label", `Progress of ${file.name}`);
    row.querySelector(".cancel").setAttribute("aria-label", `Cancel ${file.name}`);
    const upload = { file, row, request: null };
    row.querySelector(".cancel").addEventListener("click", () => cancel(upload));
    element("uploads").append(row);
    if (file.size > largest) {
      fail(upload, `too large: a file may have ${sizeOf(largest)}`);
    } else {
      state(upload, "waiting");
      waiting.push(upload);
    }
  }
  start();
}

function start() {
  while (running < AT_ONCE && waiting.length) send(waiting.shift());
}

function state(upload, text) {
  upload.row.querySelector(".state").textContent = text;
}

function fail(upload, text) {
  state(upload, text);
  upload.row.classList.add("failed");
  upload.row.querySelector("progress").remove();
  upload.row.querySelector(".cancel").textContent = "Dismiss";
  say(`${upload.file.name} is not uploaded: ${text}`, true);
}

function cancel(upload) {
  const place = waiting.indexOf(upload);
  if (place >= 0) waiting.splice(place, 1);
  if (upload.request) upload.request.abort();
  upload.row.remove();
  element("choice").focus();
}

// XMLHttpRequest, because fetch does not report the progress of an upload.
function send(upload) {
  const { file, row } = upload;
  const request = new XMLHttpRequest();
  upload.request = request;
  running += 1;
  const ended = () => {
    running -= 1;
    upload.request = null;
    start();
  };
  request.upload.addEventListener("progress", (event) => {
    row.querySelector("progress").value = event.total ? event.loaded / event.total : 1;
    state(upload, `${sizeOf(event.loaded)} of ${sizeOf(event.total)}`);
  });
  request.addEventListener("load", () => {
    ended();
    if (request.status === 201) {
      row.remove();
      const made = JSON.parse(request.responseText);
      element("files").prepend(show(made));
      count(made, 1);
      say(`${file.name} is uploaded.`);
    } else {
      fail(upload, request.responseText.trim() || `the server answered ${request.status}`);
    }
  });
  request.addEventListener("error", () => {
    ended();
    fail(upload, "the connection was cut");
  });
  request.addEventListener("abort", ended);
  request.open("POST", "/files");
  request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
  const name = encodeURIComponent(file.name).replace(/['()*]/g, (each) => `%${each.charCodeAt(0).toString(16)}`);
  request.setRequestHeader("Content-Disposition", `attachment; filename*=UTF-8''${name}`);
  for (const [field, value] of Object.entries(authorization())) request.setRequestHeader(field, value);
  state(upload, "starting");
  request.send(file);
}

// --- the page

element("choice").addEventListener("change", (event) => {
  offer([...event.target.files]);
  event.target.value = "";
});
element("more").addEventListener("click", () => list(next));
element("token").value = sessionStorage.getItem("token") || "";
element("token").addEventListener("input", (event) => sessionStorage.setItem("token", event.target.value));

let depth = 0; // Dragging enters and leaves every element on the way.
document.addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth += 1;
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", () => {
  depth -= 1;
  document.body.classList.toggle("dragging", depth > 0);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dragging");
  offer([...event.dataTransfer.files]);
});

list();
