// The card of a drawing that comes to life: rigged once, then animated as often as one likes.

import { animate, correct, rig } from "./api.js";
import { Card } from "./card.js";
import { Joints, title } from "./joints.js";
import { element, save } from "./tools.js";

const PARTS = ["fix", "redo", "workbench", "figures", "reset"];

export class DrawingCard extends Card {
  // options: () → what the API is asked for
  constructor(file, page, options) {
    super(file, page, "drawing-result", PARTS);
    this.options = options;
    this.rig = null;
    this.editors = [];
    const { at } = this;
    at.fix.onclick = () => this.bench(at.workbench.hidden);
    at.redo.onclick = () => this.restart();
    at.reset.onclick = () => this.editors.forEach((editor) => editor.reset());
  }

  async run(signal) {
    const options = this.options();
    if (!this.rig) await this.look(signal);
    try {
      await this.animate(options, signal);
    } catch (problem) {
      if (problem.code !== "not-found") throw problem;
      await this.look(signal); // the rig has expired meanwhile; the file is still here
      await this.animate(options, signal);
    }
  }

  // Have the figures found, unless a corrected rig is there.
  async look(signal) {
    this.rig = null;
    this.rig = await rig(this.file, (news) => this.sending(news, "Looking for the figure"), signal);
    this.edit();
    const seen = { src: this.rig.overlay_url, alt: "The figure that was found, with its joints" };
    this.at.stage.replaceChildren(element("img", seen));
    this.page.say(`A figure was found in ${this.file.name}; it is being animated`);
  }

  async animate(options, signal) {
    const tell = (news) => this.sending(news, "Animating");
    for (const [figure, editor] of this.editors.entries()) {
      const joints = editor.moved();
      if (!Object.keys(joints).length) continue;
      this.progress(null, "Moving the joints");
      this.rig = await correct(this.rig.rig_id, { figure, joints }, tell, signal);
    }
    this.progress(null, "Animating");
    const asked = { rig_id: this.rig.rig_id, ...options };
    this.finish(await animate(asked, tell, signal));
  }

  // ---- what is shown ----

  finish(outcome) {
    const { name } = this.file;
    const scenes = Object.entries(outcome.animations).map((scene) => this.scene(...scene));
    this.at.stage.replaceChildren(element("div", { className: "scenes" }, ...scenes));
    this.edit(); // from now on, what is moved is moved from here
    const count = `${scenes.length} ${scenes.length === 1 ? "animation" : "animations"}`;
    this.show("done", count);
    this.live(outcome.expires_at, "Animate again", () => {
      for (const button of this.at.stage.querySelectorAll(".download")) button.hidden = true;
    });
    this.page.say(`${name}: ${count} ready to download`);
  }

  scene(motion, { url, content_type, width, height, seconds }) {
    const words = title(motion);
    const told = `${this.file.name}: ${words}, ${seconds.toFixed(1)} s`;
    const moving = content_type.startsWith("video/")
      ? element("video", { src: url, width, height, loop: true, muted: true, autoplay: true,
        playsInline: true, controls: true })
      : element("img", { src: url, width, height, alt: told });
    moving.setAttribute("aria-label", told);
    const download = element("button", { type: "button", className: "primary download", textContent: "Download" });
    const file = `${this.stem()}_${motion}.${content_type.split("/")[1]}`;
    download.setAttribute("aria-label", `Download ${file}`);
    download.onclick = () => save(url, file, download);
    const caption = element("figcaption", {}, element("span", { textContent: words }), download);
    return element("figure", {}, moving, caption);
  }

  edit() {
    const changed = () => this.touched();
    this.editors = this.rig.figures.map((figure) => new Joints(figure, this.file.name, changed));
    this.at.figures.replaceChildren(...this.editors.map((editor) => editor.root));
    this.touched();
  }

  touched() {
    this.at.reset.disabled = !this.editors.some((editor) => Object.keys(editor.moved()).length);
  }

  bench(open) {
    this.at.workbench.hidden = !open;
    this.at.fix.setAttribute("aria-expanded", open);
  }
}
