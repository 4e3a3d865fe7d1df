// The API key, where the service wants one: asked for once, kept for this tab, or on this device.

import { element } from "./tools.js";

const NAME = "api-key";
const $ = (id) => document.getElementById(id);
let asking = null; // one dialog, however many requests wait for it

export const key = () => read("sessionStorage") ?? read("localStorage") ?? "";
export const authorization = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

// Resolves to whether there is another key now than the one that was refused.
export function newKey(refused, why) {
  if (key() !== refused) return true;
  const needed = "This service needs a key. Whoever runs it can give you one.";
  asking ??= ask(refused ? why : needed).finally(() => { asking = null; });
  return asking;
}

function ask(why) {
  const dialog = $("key-dialog");
  $("key-why").replaceChildren(element("span", { textContent: why }));
  $("key-field").value = "";
  dialog.returnValue = "";
  $("change-key").hidden = false;
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true });
  });
}

function keep(text) {
  for (const place of ["sessionStorage", "localStorage"]) write(place, null);
  if (text) write($("key-keep").checked ? "localStorage" : "sessionStorage", text);
}

// A browser may refuse to store anything; then the key lives as long as the page.
const inMemory = {};

function read(place) {
  try { return window[place].getItem(NAME) ?? inMemory[place]; } catch { return inMemory[place]; }
}

function write(place, text) {
  inMemory[place] = text ?? undefined;
  try {
    if (text) window[place].setItem(NAME, text);
    else window[place].removeItem(NAME);
  } catch { /* private mode */ }
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keep($("key-field").value.trim());
  $("key-dialog").close("given");
});
$("key-cancel").addEventListener("click", () => $("key-dialog").close());
$("change-key").addEventListener("click", () => {
  keep("");
  ask("The one that was kept is forgotten. Give another, or leave it at that.");
});
$("change-key").hidden = !key();
