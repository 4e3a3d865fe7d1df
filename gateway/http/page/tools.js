// What all parts of the page use: elements, words for amounts, files for the person.

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function bytes(n) {
  const units = ["B", "KB", "MB", "GB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(n, 1)) / 3), 3);
  const value = n / 1000 ** power;
  return `${value.toFixed(power && value < 10 ? 1 : 0)} ${units[power]}`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

// The name is set by way of a local blob: across origins a link's "download" is ignored.
export async function save(url, name, button) {
  button.disabled = true;
  try {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`the store answered ${answer.status}`);
    const blob = URL.createObjectURL(await answer.blob());
    click({ href: blob, download: name });
    setTimeout(() => URL.revokeObjectURL(blob), 60_000);
  } catch { // a store without a CORS rule: it names the file then
    click({ href: url, download: name, target: "_blank", rel: "noopener" });
  }
  button.disabled = false;
}

function click(properties) {
  const link = element("a", properties);
  document.body.append(link);
  link.click();
  link.remove();
}
