// A figure's skeleton over its picture, to be moved by mouse, touch and keyboard.

import { element } from "./tools.js";

// As in the rigger's skeleton; bones of joints that a figure lacks are left out.
const PARENTS = {
  hip: "root", torso: "hip", neck: "torso",
  right_shoulder: "torso", right_elbow: "right_shoulder", right_hand: "right_elbow",
  left_shoulder: "torso", left_elbow: "left_shoulder", left_hand: "left_elbow",
  right_hip: "root", right_knee: "right_hip", right_foot: "right_knee",
  left_hip: "root", left_knee: "left_hip", left_foot: "left_knee",
};
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const SVG = "http://www.w3.org/2000/svg";

const svg = (name, attributes) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

export const title = (name) => {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
};

// figure: as in a rig's view; changed() is called whenever a joint has been moved.
export class Joints {
  constructor(figure, name, changed) {
    this.figure = figure;
    this.changed = changed;
    this.at = structuredClone(figure.joints);
    const [width, height] = figure.size;
    this.root = element("div", { className: "joints" },
      element("img", { src: figure.texture_url, alt: `The figure cut out of ${name}`, draggable: false }));
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", `Joints of ${name}`);
    this.bones = new Map();
    const lines = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const joint of Object.keys(PARENTS)) {
      if (!(joint in this.at)) continue;
      const bone = svg("line", { class: side(joint), "vector-effect": "non-scaling-stroke" });
      this.bones.set(joint, bone);
      lines.append(bone);
    }
    this.root.append(lines);
    // Where two joints lie on each other (root and hip do), one handle moves both.
    this.handles = new Map();
    for (const joint of Object.keys(this.at)) {
      const twin = [...this.handles.keys()].find((other) => this.together(joint, other));
      if (twin) this.handles.get(twin).joints.push(joint);
      else this.handles.set(joint, this.handle(joint));
    }
    this.draw();
  }

  // What has been moved: name → [x, y].
  moved() {
    const same = (joint) => String(this.at[joint]) === String(this.figure.joints[joint]);
    return Object.fromEntries(Object.entries(this.at).filter(([joint]) => !same(joint)));
  }

  reset() {
    this.at = structuredClone(this.figure.joints);
    this.draw();
    this.changed();
  }

  // ---- inside ----

  together(a, b) {
    const [p, q] = [this.at[a], this.at[b]];
    return Math.hypot(p[0] - q[0], p[1] - q[1]) < 1;
  }

  handle(joint) {
    const button = element("button", { type: "button", className: `joint ${side(joint)}` });
    const made = { button, joints: [joint] };
    button.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // no ghost of the picture is dragged along
      button.focus({ preventScroll: true });
      button.setPointerCapture(event.pointerId);
    });
    button.addEventListener("pointermove", (event) => {
      if (!button.hasPointerCapture(event.pointerId)) return;
      const frame = this.root.getBoundingClientRect();
      const [width, height] = this.figure.size;
      this.move(made, (event.clientX - frame.left) / frame.width * width,
        (event.clientY - frame.top) / frame.height * height);
    });
    button.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const far = Math.max(...this.figure.size) * (event.shiftKey ? 0.05 : 0.01);
      const [x, y] = this.at[joint];
      this.move(made, x + step[0] * far, y + step[1] * far);
    });
    this.root.append(button);
    return made;
  }

  move(handle, x, y) {
    const [width, height] = this.figure.size;
    const place = [[x, width], [y, height]].map(
      ([value, most]) => Math.round(10 * Math.min(Math.max(value, 0), most)) / 10);
    for (const joint of handle.joints) this.at[joint] = [...place];
    this.draw();
    this.changed();
  }

  draw() {
    const [width, height] = this.figure.size;
    for (const [joint, bone] of this.bones) {
      const [from, to] = [this.at[PARENTS[joint]], this.at[joint]];
      if (!from) continue;
      const ends = { x1: from[0], y1: from[1], x2: to[0], y2: to[1] };
      for (const [name, value] of Object.entries(ends)) bone.setAttribute(name, value);
    }
    for (const [joint, { button }] of this.handles) {
      const [x, y] = this.at[joint];
      button.style.left = `${100 * x / width}%`;
      button.style.top = `${100 * y / height}%`;
      const place = `${Math.round(100 * x / width)}% across, ${Math.round(100 * y / height)}% down`;
      button.title = title(joint);
      button.setAttribute("aria-label", `${title(joint)}, ${place}`);
    }
  }
}

const side = (joint) => (/^(left|right)_/.exec(joint)?.[1] ?? "middle");
