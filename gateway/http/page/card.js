// One file's card: waits, works, and ends as a result, a problem or a cancelled piece of work.

import { blur, cancelled, drop, follow, Problem } from "./api.js";
import { element, photos, preview, videos } from "./compare.js";

const PARTS = ["name", "size", "badge", "remove", "stage", "work", "progress-text", "cancel",
  "problem", "detail", "code", "again", "result", "until", "delete", "report", "reblur", "download"];

const STAGES = {
  queued: "Waiting for a free place",
  fetch: "Reading the video",
  analyse: "Looking for faces",
  render: "Hiding faces",
  store: "Saving",
};

const EXTENSIONS = {
  "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif",
  "image/avif": "avif", "image/heic": "heic", "video/mp4": "mp4",
};

export class Card {
  // page: {enqueue(card), withdraw(card), say(text)}
  constructor(file, page) {
    this.file = file;
    this.page = page;
    this.local = URL.createObjectURL(file);
    this.root = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.at = Object.fromEntries(PARTS.map((part) => [part, this.root.querySelector(`.${part}`)]));
    this.bar = this.root.querySelector("progress");
    const { at } = this;
    at.name.textContent = at.name.title = file.name;
    at.size.textContent = bytes(file.size);
    this.root.setAttribute("aria-label", file.name);
    this.bar.setAttribute("aria-label", `Progress of ${file.name}`);
    at.remove.setAttribute("aria-label", `Remove ${file.name} from this page`);
    at.remove.onclick = () => this.dismiss();
    at.cancel.onclick = () => this.stop();
    at.again.onclick = at.reblur.onclick = () => { this.root.focus(); page.enqueue(this); };
    at.download.onclick = () => this.save();
    at.delete.onclick = () => this.erase();
  }

  wait() {
    this.abort = new AbortController();
    this.outcome = this.id = null;
    clearInterval(this.clock);
    this.at.stage.replaceChildren(...[preview(this.file, this.local)].filter(Boolean));
    this.show("working", "");
    this.progress(null, "Waiting for its turn");
  }

  // Never rejects: every end is shown on the card.
  async work(options) {
    const { signal } = this.abort;
    try {
      this.progress(null, "Sending");
      const answer = await blur(this.file, options, (news) => this.sending(news), signal);
      this.finish(answer.kind === "video" ? await this.attend(answer, signal) : answer, options);
    } catch (problem) {
      if (this.abort.signal === signal) this.fail(problem);
    }
  }

  // A video's job from its first view to its result.
  async attend(view, signal) {
    this.id = view.id;
    this.page.say(`${this.file.name} is sent; the server is working on it`);
    this.rendering(view);
    const end = await follow(view.id, (now) => this.rendering(now), signal);
    if (end.status === "cancelled") throw cancelled();
    if (end.status === "failed") throw new Problem(end.error);
    return { ...end.result, kind: "video", id: end.id };
  }

  stop() {
    if (this.id) drop(this.id).catch(() => {}); // finished in this moment, or already gone
    this.page.withdraw(this);
    this.abort.abort();
    this.fail(cancelled());
    this.at.again.focus();
  }

  dismiss() {
    if (this.root.classList.contains("working")) this.stop();
    clearInterval(this.clock);
    URL.revokeObjectURL(this.local);
    const next = this.root.nextElementSibling ?? this.root.previousElementSibling;
    this.root.remove();
    (next ?? document.getElementById("choose")).focus();
    this.page.say(`${this.file.name} removed`);
  }

  // ---- what is shown ----

  show(state, badge) {
    this.root.className = `card ${state}`;
    this.at.badge.textContent = badge;
    this.at.work.hidden = state !== "working";
    this.at.problem.hidden = !["failed", "cancelled"].includes(state);
    this.at.result.hidden = !state.startsWith("done");
  }

  // fraction: 0 to 1, or null when it is not known
  progress(fraction, text) {
    if (fraction === null) this.bar.removeAttribute("value");
    else this.bar.value = fraction;
    this.at["progress-text"].textContent = text;
  }

  sending(news) {
    if (news.phase === "upload") {
      this.progress(news.fraction, `Sending, ${Math.floor(100 * news.fraction)}%`);
    } else if (news.phase === "wait") {
      this.progress(null, `The server is busy; trying again in ${Math.round(news.seconds)} s`);
    } else {
      this.progress(null, "Looking for faces");
    }
  }

  rendering({ progress: now }) {
    const text = [STAGES[now.stage] ?? "Working"];
    if (now.frames_total && now.frames_done && ["analyse", "render"].includes(now.stage)) {
      text.push(`frame ${now.frames_done.toLocaleString()} of ${now.frames_total.toLocaleString()}`);
    }
    if (now.fps) text.push(`${now.fps.toFixed(now.fps < 10 ? 1 : 0)} frames/s`);
    if (now.eta_seconds > 0) text.push(`about ${duration(now.eta_seconds)} left`);
    this.progress(now.fraction || null, text.join(" · "));
  }

  finish(outcome, options) {
    this.outcome = outcome;
    const { name } = this.file;
    const faces = outcome.kind === "image" ? outcome.faces.length : outcome.tracks;
    const found = faces ? `${faces.toLocaleString()} ${faces === 1 ? "face" : "faces"} hidden` : "No face found";
    const compare = outcome.kind === "image" ? photos : videos;
    this.at.stage.replaceChildren(compare(name, this.local, outcome.url));
    if (!faces) {
      const hint = options.threshold === "0.1" ? "Nothing was hidden."
        : "Nothing was hidden. If there is a face, set Sensitivity to High and blur again.";
      this.at.stage.append(element("p", { className: "notice", textContent: hint }));
    }
    this.at.report.href = outcome.report_url;
    this.at.report.setAttribute("aria-label", `Report on ${name}, as JSON`);
    this.at.download.setAttribute("aria-label", `Download ${this.fileName()}`);
    this.at.delete.hidden = outcome.kind !== "video"; // only jobs can be forgotten early
    this.show(faces ? "done" : "done none", found);
    this.tick();
    this.clock = setInterval(() => this.tick(), 20_000);
    this.page.say(`${name}: ${found.toLowerCase()}, ready to download`);
  }

  fail(problem) {
    const ended = problem.code === "cancelled";
    this.id = null;
    const heading = this.at.problem.querySelector("h3");
    heading.textContent = problem.title ?? "Something went wrong";
    heading.hidden = ended;
    this.at.detail.textContent = ended ? "Stopped before it was finished."
      : problem.detail || "This page ran into an error.";
    this.at.code.textContent = ended ? ""
      : [problem.code, problem.requestId && `request ${problem.requestId}`].filter(Boolean).join(" · ");
    this.at.again.textContent = ended ? "Start again" : "Try again";
    if (!ended) this.at.stage.replaceChildren();
    this.show(ended ? "cancelled" : "failed", ended ? "Cancelled" : "Failed");
    this.page.say(`${this.file.name}: ${problem.title ?? "failed"}. ${this.at.detail.textContent}`);
    if (!(problem instanceof Problem)) console.error(problem);
  }

  // How long the links live, told honestly to the minute.
  tick() {
    const end = new Date(this.outcome.expires_at);
    const left = (end - Date.now()) / 1000;
    const clock = end.toLocaleTimeString([], { hour: "numeric", minute: "2-digit" });
    this.at.until.textContent = left > 0
      ? `Links work until ${clock}, ${left < 90 ? "about a minute" : duration(left)} from now.`
      : "The links have expired. Blur again for new ones.";
    if (left > 0) return;
    clearInterval(this.clock);
    this.at.report.hidden = this.at.download.hidden = this.at.delete.hidden = true;
  }

  // ---- what is done with a result ----

  fileName() {
    const dot = this.file.name.lastIndexOf(".");
    const stem = dot > 0 ? this.file.name.slice(0, dot) : this.file.name;
    const own = dot > 0 ? this.file.name.slice(dot + 1) : "";
    const fitting = EXTENSIONS[this.outcome.content_type] ?? own;
    const same = fitting === own.toLowerCase() || (fitting === "jpg" && /^jpe?g?$/i.test(own));
    return `${stem}_blurred.${same ? own : fitting}`;
  }

  // The name is set by way of a local blob: across origins a link's "download" is ignored.
  async save() {
    const { download } = this.at;
    download.disabled = true;
    try {
      const answer = await fetch(this.outcome.url);
      if (!answer.ok) throw new Error(`the store answered ${answer.status}`);
      const blob = URL.createObjectURL(await answer.blob());
      click({ href: blob, download: this.fileName() });
      setTimeout(() => URL.revokeObjectURL(blob), 60_000);
    } catch { // a store without a CORS rule: it names the file then
      click({ href: this.outcome.url, download: this.fileName(), target: "_blank", rel: "noopener" });
    }
    download.disabled = false;
  }

  async erase() {
    this.at.delete.disabled = true;
    try {
      await drop(this.outcome.id);
    } catch (problem) {
      if (problem.code !== "not-found") {
        this.at.delete.disabled = false;
        this.at.until.textContent = `Not deleted: ${problem.detail}`;
        return;
      }
    }
    this.page.say(`${this.file.name} is deleted from the server`);
    this.dismiss();
  }
}

function click(properties) {
  const link = element("a", properties);
  document.body.append(link);
  link.click();
  link.remove();
}

function bytes(n) {
  const units = ["B", "KB", "MB", "GB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(n, 1)) / 3), 3);
  const value = n / 1000 ** power;
  return `${value.toFixed(power && value < 10 ? 1 : 0)} ${units[power]}`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}
