// The card of a photo or video whose faces are hidden.

import { blur, cancelled, drop, follow, Problem } from "./api.js";
import { Card } from "./card.js";
import { photos, videos } from "./compare.js";
import { duration, element, save } from "./tools.js";

const PARTS = ["delete", "report", "reblur", "download"];

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

export class FacesCard extends Card {
  // options: () → what the API is asked for
  constructor(file, page, options) {
    super(file, page, "faces-result", PARTS);
    this.options = options;
    this.at.reblur.onclick = () => this.restart();
    this.at.download.onclick = () => save(this.outcome.url, this.fileName(), this.at.download);
    this.at.delete.onclick = () => this.erase();
  }

  wait() {
    this.outcome = this.id = null;
    super.wait();
  }

  async run(signal) {
    const options = this.options();
    const tell = (news) => this.sending(news, "Looking for faces");
    const answer = await blur(this.file, options, tell, signal);
    this.finish(answer.kind === "video" ? await this.attend(answer, signal) : answer, options);
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
    super.stop();
  }

  fail(problem) {
    this.id = null;
    super.fail(problem);
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
    const { report, download, delete: erase } = this.at;
    report.href = outcome.report_url;
    report.setAttribute("aria-label", `Report on ${name}, as JSON`);
    download.setAttribute("aria-label", `Download ${this.fileName()}`);
    report.hidden = download.hidden = false;
    erase.hidden = outcome.kind !== "video"; // only jobs can be forgotten early
    this.show(faces ? "done" : "done none", found);
    this.live(outcome.expires_at, "Blur again", () => {
      report.hidden = download.hidden = erase.hidden = true;
    });
    this.page.say(`${name}: ${found.toLowerCase()}, ready to download`);
  }

  fileName() {
    const stem = this.stem();
    const own = this.file.name.slice(stem.length + 1);
    const fitting = EXTENSIONS[this.outcome.content_type] ?? own;
    const same = fitting === own.toLowerCase() || (fitting === "jpg" && /^jpe?g?$/i.test(own));
    return `${stem}_blurred.${same ? own : fitting}`;
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
