// The page: files come in by button, drop or paste, wait in a queue, and each has a card.

import { motions } from "./api.js";
import { DrawingCard } from "./drawing.js";
import { FacesCard } from "./faces.js";
import { Jobs } from "./jobs.js";
import { title } from "./joints.js";
import { element } from "./tools.js";

const AT_ONCE = 2;
const $ = (id) => document.getElementById(id);
const waiting = [];
const atWork = new Set();

// ---- what is done with files: hiding faces, or animating drawings ----

const MODES = {
  faces: {
    choose: "Choose photos or videos",
    accept: "image/*,video/*,.heic,.heif,.avif,.mkv,.ts,.mts,.m2ts",
    card: (file, page) => new FacesCard(file, page, options),
  },
  drawings: {
    choose: "Choose a drawing",
    accept: "image/*,.heic,.heif,.avif",
    card: (file, page) => new DrawingCard(file, page, looks),
  },
};
const mode = () => $("modes").elements.mode.value;

function showMode() {
  document.body.dataset.mode = mode();
  if (mode() === "jobs") return jobs.start();
  jobs.stop();
  $("choose").textContent = MODES[mode()].choose;
  $("files").accept = MODES[mode()].accept;
  if (mode() === "drawings") offerMotions();
}

const jobs = new Jobs($("jobs"), $("no-jobs"), say);

$("modes").addEventListener("input", () => {
  history.replaceState(null, "", mode() === "faces" ? location.pathname : `#${mode()}`);
  showMode();
});

let offered = null; // the library, asked for once

function offerMotions() {
  offered ??= motions().then((library) => {
    const chosen = remembered("looks").motions ?? ["dab", "wave_hello", "dance"];
    $("motions").replaceChildren(...library.map(({ motion, seconds }) => element("label",
      { title: `${seconds.toFixed(1)} s` },
      element("input", { type: "checkbox", name: "motions", value: motion, checked: chosen.includes(motion) }),
      element("span", { textContent: title(motion) }))));
  }).catch((problem) => {
    offered = null;
    const again = element("button", { type: "button", className: "link", textContent: "Try again" });
    again.onclick = offerMotions;
    $("motions").replaceChildren(`${problem.detail ?? "The motions could not be loaded."} `, again);
  });
}

// ---- options: remembered on this device, read when a file starts ----

const form = $("options");

function options() {
  const chosen = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  return { ...chosen, audio: $("audio").checked ? "keep" : "drop" };
}

function looks() {
  const chosen = new FormData($("looks"));
  const background = chosen.get("background");
  return {
    motions: chosen.getAll("motions").length ? chosen.getAll("motions") : ["dab"],
    format: chosen.get("format"),
    background: background === "colour" ? $("colour").value : background,
    size: Number($("size").value),
    figures: $("everyone").checked ? "all" : "first",
  };
}

function showAmounts() {
  $("scale-value").textContent = `${Number($("scale").value).toFixed(1)}×`;
  $("size-value").textContent = `${$("size").value} px`;
  $("colour").hidden = $("looks").elements.background.value !== "colour";
}

function remembered(name) {
  try { return JSON.parse(localStorage.getItem(name)) ?? {}; } catch { return {}; /* not ours */ }
}

function remember(name, value) {
  try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* private mode */ }
}

function recall() {
  const faces = remembered("options");
  for (const [name, value] of Object.entries(faces)) {
    const field = form.elements[name];
    if (name !== "audio" && field) field.value = value;
  }
  if (faces.audio) $("audio").checked = faces.audio === "keep";
  const { format, background, size, figures } = remembered("looks");
  const fields = $("looks").elements;
  if (format) fields.format.value = format;
  if (background?.startsWith("#")) $("colour").value = background;
  if (background) fields.background.value = background.startsWith("#") ? "colour" : background;
  if (size) $("size").value = size;
  $("everyone").checked = figures === "all";
  showAmounts();
  follow();
  offerMotions(); // which also tells at once whether a key is needed
}

function follow() { // the address says which part is shown; one that names none changes nothing
  $("modes").elements.mode.value = location.hash.slice(1) || "faces";
  showMode();
}

window.addEventListener("hashchange", follow);

form.addEventListener("input", () => remember("options", options()));
$("looks").addEventListener("input", () => remember("looks", looks()));
for (const each of document.forms) {
  each.addEventListener("input", showAmounts);
  each.addEventListener("submit", (event) => event.preventDefault());
}

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
  if (mode() === "jobs") {
    $("modes").elements.mode.value = "faces";
    showMode();
  }
  document.body.classList.add("busy");
  const cards = files.map((file) => MODES[mode()].card(file, { enqueue, withdraw, say }));
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
  await card.work();
  atWork.delete(card);
  next();
}

window.addEventListener("beforeunload", (event) => {
  if (atWork.size) event.preventDefault();
});

recall();
