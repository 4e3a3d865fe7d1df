// One file's card: waits, works, and ends as a result, a problem or a cancelled piece of work.
// What the work is, and how its result looks, is told by the classes that extend it.

import { cancelled, Problem } from "./api.js";
import { preview } from "./compare.js";
import { bytes, duration } from "./tools.js";

const PARTS = ["name", "size", "badge", "remove", "stage", "work", "progress-text", "cancel",
  "problem", "detail", "code", "again", "result"];

export class Card {
  // page: {enqueue(card), withdraw(card), say(text)}; result: id of the template of its result
  constructor(file, page, result, parts) {
    this.file = file;
    this.page = page;
    this.local = URL.createObjectURL(file);
    this.root = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.root.querySelector(".result").append(document.getElementById(result).content.cloneNode(true));
    this.at = Object.fromEntries(
      [...PARTS, "until", ...parts].map((part) => [part, this.root.querySelector(`.${part}`)]));
    this.bar = this.root.querySelector("progress");
    const { at } = this;
    at.name.textContent = at.name.title = file.name;
    at.size.textContent = bytes(file.size);
    this.root.setAttribute("aria-label", file.name);
    this.bar.setAttribute("aria-label", `Progress of ${file.name}`);
    at.remove.setAttribute("aria-label", `Remove ${file.name} from this page`);
    at.remove.onclick = () => this.dismiss();
    at.cancel.onclick = () => this.stop();
    at.again.onclick = () => this.restart();
  }

  wait() {
    this.abort = new AbortController();
    clearInterval(this.clock);
    this.at.stage.replaceChildren(...[preview(this.file, this.local)].filter(Boolean));
    this.show("working", "");
    this.progress(null, "Waiting for its turn");
  }

  // Never rejects: every end is shown on the card.
  async work() {
    const { signal } = this.abort;
    try {
      this.progress(null, "Sending");
      await this.run(signal);
    } catch (problem) {
      if (this.abort.signal === signal) this.fail(problem);
    }
  }

  restart() {
    this.root.focus();
    this.page.enqueue(this);
  }

  stop() {
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

  // sent: what is done once everything has been sent
  sending(news, sent) {
    if (news.phase === "upload") {
      this.progress(news.fraction, `Sending, ${Math.floor(100 * news.fraction)}%`);
    } else if (news.phase === "wait") {
      this.progress(null, `The server is busy; trying again in ${Math.round(news.seconds)} s`);
    } else {
      this.progress(null, sent);
    }
  }

  fail(problem) {
    const ended = problem.code === "cancelled";
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

  // Tells how long the links live, to the minute; then calls expired().
  live(until, renew, expired) {
    const end = new Date(until);
    const tick = () => {
      const left = (end - Date.now()) / 1000;
      const clock = end.toLocaleTimeString([], { hour: "numeric", minute: "2-digit" });
      this.at.until.textContent = left > 0
        ? `Links work until ${clock}, ${left < 90 ? "about a minute" : duration(left)} from now.`
        : `The links have expired. ${renew} for new ones.`;
      if (left > 0) return;
      clearInterval(this.clock);
      expired();
    };
    clearInterval(this.clock);
    this.clock = setInterval(tick, 20_000);
    tick();
  }

  stem() {
    const dot = this.file.name.lastIndexOf(".");
    return dot > 0 ? this.file.name.slice(0, dot) : this.file.name;
  }
}
