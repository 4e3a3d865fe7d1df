// Batches and trainings: how far, how fast over time, what failed and why, where the results are.

import { send } from "./api.js";
import { duration, element } from "./tools.js";

const EVERY = 3; // seconds between two looks
const SHOWN = 20; // jobs, and results at a time
const LIVE = ["queued", "running"];
const BADGES = {
  queued: "Waiting", running: "At work", done: "Done", failed: "Failed", cancelled: "Cancelled",
};

export class Jobs {
  // list: the element that holds the cards; say(text): for screen readers
  constructor(list, empty, say) {
    Object.assign(this, { list, empty, say, cards: new Map(), timer: null });
  }

  start() {
    this.timer ??= setInterval(() => this.look({ background: true }), EVERY * 1000);
    return this.look();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
  }

  async look(how = {}) {
    try {
      const { jobs } = await send("GET", `/v1/jobs?limit=${SHOWN}`, how);
      await Promise.all(jobs.map((view) => this.show(view, how)));
      const known = new Set(jobs.map(({ id }) => id));
      for (const [id, card] of this.cards) if (!known.has(id)) this.drop(id, card);
      jobs.forEach(({ id }, place) => this.place(this.cards.get(id).root, place));
      this.empty.hidden = jobs.length > 0;
      this.empty.textContent = "No jobs yet.";
    } catch (problem) {
      this.empty.hidden = false;
      this.empty.textContent = problem.detail ?? "The jobs could not be loaded.";
    }
  }

  // What is over does not change: it is asked for in full once.
  async show(view, how) {
    let card = this.cards.get(view.id);
    if (!card) this.cards.set(view.id, card = new JobCard(view, this));
    if (card.status !== view.status || LIVE.includes(view.status)) {
      card.update(await send("GET", `/v1/jobs/${view.id}`, how));
    }
  }

  // Moved only where it must be: a moved element loses its focus.
  place(root, place) {
    if (this.list.children[place] !== root) this.list.insertBefore(root, this.list.children[place]);
  }

  drop(id, card) {
    this.cards.delete(id);
    card.root.remove();
  }
}

class JobCard {
  constructor(view, jobs) {
    Object.assign(this, { id: view.id, jobs, status: null });
    this.name = view.input ?? `Training of ${view.model}`;
    this.root = document.getElementById("job").content.firstElementChild.cloneNode(true);
    const parts = ["name", "size", "badge", "progress-text", "rate", "where", "error", "failures",
      "results", "cancel", "retry", "remove"];
    this.at = Object.fromEntries(parts.map((part) => [part, this.root.querySelector(`.${part}`)]));
    this.bar = this.root.querySelector("progress");
    const { at } = this;
    at.name.textContent = at.name.title = this.name;
    at.where.textContent = view.output ? `to ${view.output}` : "";
    this.root.setAttribute("aria-label", this.name);
    this.bar.setAttribute("aria-label", `Progress of ${this.name}`);
    at.remove.setAttribute("aria-label", `Remove ${this.name} from the list`);
    at.cancel.onclick = () => this.ask("DELETE", "");
    at.remove.onclick = () => this.ask("DELETE", "");
    at.retry.onclick = () => this.ask("POST", "/retry");
    at.results.ontoggle = () => at.results.open && this.more(true);
  }

  async ask(method, path) {
    try {
      await send(method, `/v1/jobs/${this.id}${path}`, {});
    } catch (problem) {
      this.jobs.say(`${this.name}: ${problem.detail}`);
    }
    await this.jobs.look();
  }

  update(view) {
    const { at } = this, live = LIVE.includes(view.status);
    if (this.status && this.status !== view.status) {
      this.jobs.say(`${this.name}: ${BADGES[view.status]}`);
    }
    this.status = view.status;
    this.root.className = `card job ${view.status}`;
    at.badge.textContent = BADGES[view.status];
    at.size.textContent = new Date(view.created_at).toLocaleString([], {
      dateStyle: "medium", timeStyle: "short",
    });
    this.bar.hidden = !live;
    this.bar.value = view.progress.fraction ?? 0;
    at["progress-text"].textContent = sentence(view);
    at.rate.replaceChildren(...(view.pace?.length > 1 ? [chart(view.pace)] : []));
    at.error.hidden = !view.error;
    at.error.textContent = view.error?.detail ?? "";
    this.failures(view);
    at.results.hidden = !view.items?.done && !view.items?.skipped && !view.training;
    if (view.training) this.training(view.training);
    at.cancel.hidden = !live;
    at.remove.hidden = live;
    at.retry.hidden = !(view.status !== "cancelled" && (view.items?.failed || view.error));
  }

  failures(view) {
    const rows = view.failures ?? [], { failures } = this.at;
    failures.hidden = !rows.length;
    failures.querySelector("summary").textContent = `${view.items?.failed ?? 0} failed`;
    failures.querySelector("tbody").replaceChildren(...rows.map((failure) => element("tr", {},
      element("th", { scope: "row", textContent: failure.name }),
      element("td", { textContent: failure.detail }))));
  }

  training(state) {
    const links = [
      ...(state.checkpoint_url ? [["Checkpoint", state.checkpoint_url]] : []),
      ...(state.logs ?? []).map(({ name, url }) => [name, url]),
    ];
    this.at.results.dataset.kind = "training";
    this.list(links.map(([name, url]) => ({ name, url })), null);
  }

  // Links are signed when they are asked for: the list is new each time it is opened.
  async more(anew, path = `/v1/jobs/${this.id}/items?limit=${SHOWN}`) {
    if (this.at.results.dataset.kind === "training") return;
    try {
      const page = await send("GET", path, {});
      const items = page.items.map(({ name, output, url }) => ({ name: output ?? name, url }));
      this.list(items, page.next, anew);
    } catch (problem) {
      this.at.results.querySelector("p").textContent = problem.detail;
    }
  }

  list(items, next, anew = true) {
    const list = this.at.results.querySelector("ul"), more = this.at.results.querySelector("button");
    const rows = items.map(({ name, url }) => element("li", {}, url
      ? element("a", { href: url, target: "_blank", rel: "noopener", textContent: name }) : name));
    if (anew) list.replaceChildren(...rows);
    else list.append(...rows);
    more.hidden = !next;
    more.onclick = () => this.more(false, next);
  }
}

function sentence({ status, progress, items, kind }) {
  const parts = [];
  if (items) {
    const ended = items.total - items.left;
    const more = items.listed || !LIVE.includes(status) ? "" : " so far";
    parts.push(`${ended.toLocaleString()} of ${items.total.toLocaleString()} files${more}`);
    if (items.skipped) parts.push(`${items.skipped.toLocaleString()} of them there already`);
    if (progress.video_seconds_done) parts.push(hours(progress));
  } else if (kind === "training") {
    parts.push(`${Math.floor(100 * (progress.fraction ?? 0))}%`);
  }
  if (LIVE.includes(status)) {
    if (items) parts.push(`${items.workers} at work`);
    if (progress.fps) parts.push(`${Math.round(progress.fps)} frames/s`);
    if (progress.eta_seconds) parts.push(`${duration(progress.eta_seconds)} left`);
  }
  return parts.join(" · ");
}

function hours({ video_seconds_done: done, video_seconds_total: total }) {
  const all = total > done ? ` of about ${duration(total)}` : "";
  return `${duration(done)}${all} of video`;
}

// Seconds of video per second over the job's age, as an area.
function chart(pace) {
  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const width = 600, height = 60, speed = (point) => point.video_seconds_per_second;
  const end = pace.at(-1).begin + pace.at(-1).length;
  const top = Math.max(...pace.map(speed)) || 1;
  const x = (second) => ((second * width) / end).toFixed(1);
  const y = (value) => (height - 2 - ((height - 4) * value) / top).toFixed(1);
  let line = "", last = 0;
  for (const point of pace) { // spans in which nothing ended are not listed
    if (point.begin > last) line += `L${x(last)} ${y(0)}L${x(point.begin)} ${y(0)}`;
    last = point.begin + point.length;
    line += `L${x(point.begin)} ${y(speed(point))}L${x(last)} ${y(speed(point))}`;
  }
  const label = `Throughput over ${duration(end)}: up to ${top.toFixed(1)} seconds of video a second`;
  const box = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label,
  });
  box.append(svg("path", { d: `M0 ${height}${line}L${x(last)} ${height}Z` }));
  return element("figure", {}, box, element("figcaption", { textContent: label }));
}
