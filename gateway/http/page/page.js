// The page: files come in by button, drop or paste, wait in a queue, and each has a card.

import { Card } from "./card.js";

const AT_ONCE = 2;
const $ = (id) => document.getElementById(id);
const waiting = [];
const atWork = new Set();

// ---- options: remembered on this device, read when a file starts ----

const form = $("options");

function options() {
  const chosen = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  return { ...chosen, audio: $("audio").checked ? "keep" : "drop" };
}

function showScale() {
  $("scale-value").textContent = `${Number($("scale").value).toFixed(1)}×`;
}

function recall() {
  let saved = {};
  try { saved = JSON.parse(localStorage.getItem("options")) ?? {}; } catch { /* none, or not ours */ }
  for (const [name, value] of Object.entries(saved)) {
    const field = form.elements[name];
    if (name !== "audio" && field) field.value = value;
  }
  if (saved.audio) $("audio").checked = saved.audio === "keep";
  showScale();
}

form.addEventListener("input", () => {
  showScale();
  try { localStorage.setItem("options", JSON.stringify(options())); } catch { /* private mode */ }
});
form.addEventListener("submit", (event) => event.preventDefault());

// ---- files come in ----

$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  add([...$("files").files]);
  $("files").value = "";
});
document.addEventListener("paste", (event) => add([...(event.clipboardData?.files ?? [])]));

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0; // dragenter and dragleave also fire for every child
const dragging = (change) => {
  depth = change ? depth + change : 0;
  document.body.classList.toggle("dragging", depth > 0);
};
window.addEventListener("dragenter", (event) => carriesFiles(event) && dragging(1));
window.addEventListener("dragleave", (event) => carriesFiles(event) && dragging(-1));
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", async (event) => {
  event.preventDefault();
  dragging(0);
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
  const files = [...event.dataTransfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) return add(files);
  add((await Promise.all(entries.filter(Boolean).map(unfold))).flat());
});

// All photos and videos in a dropped folder; a file dropped by itself is taken as it is.
async function unfold(entry, _index, _all, inside = false) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    const media = /^(image|video)\//.test(file.type) || /\.(hei[cf]|avif|mkv|m?ts|m2ts)$/i.test(file.name);
    return !inside || (media && !file.name.startsWith(".")) ? [file] : [];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader gives a hundred entries at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    for (const child of some) found.push(...await unfold(child, 0, some, true));
  }
  return found;
}

function add(files) {
  if (!files.length) return;
  document.body.classList.add("busy");
  const cards = files.map((file) => new Card(file, { enqueue, withdraw, say }));
  $("queue").prepend(...cards.map((card) => card.root));
  cards.forEach(enqueue);
}

// ---- the queue ----

function enqueue(card) {
  card.wait();
  waiting.push(card);
  next();
}

function withdraw(card) {
  const place = waiting.indexOf(card);
  if (place >= 0) waiting.splice(place, 1);
}

// For screen readers: what changed, once, politely.
function say(text) {
  $("status").textContent = text;
}

async function next() {
  if (atWork.size >= AT_ONCE || !waiting.length) return;
  const card = waiting.shift();
  atWork.add(card);
  next();
  await card.work(options());
  atWork.delete(card);
  next();
}

window.addEventListener("beforeunload", (event) => {
  if (atWork.size) event.preventDefault();
});

recall();
