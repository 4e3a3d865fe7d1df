// Before and after, side by side: a slider over two pictures, two players in step.
// "Before" is the local file and is never sent or fetched again.

import { element } from "./tools.js";

const tag = (text, side) => element("span", { className: `tag ${side}`, textContent: text });

const note = (text) => element("p", { className: "notice", textContent: text });

// What to show while the work goes on; null when the browser cannot show the file.
export function preview(file, local) {
  if (!file.type.startsWith("image/")) return null;
  const image = element("img", { src: local, alt: "" });
  image.onerror = () => image.remove();
  return image;
}

export function photos(name, local, remote) {
  const after = element("img", { src: remote, alt: `${name} with faces hidden`, className: "after" });
  const before = element("img", { src: local, alt: "", className: "before" });
  const slider = element("input", { type: "range", min: 0, max: 100, step: 1, value: 50 });
  slider.setAttribute("aria-label", "How much of the original is shown");
  const line = document.getElementById("handle").content.cloneNode(true);
  const frame = element("div", { className: "compare" },
    after, before, slider, line, tag("Before", "left"), tag("After", "right"));
  const show = () => {
    frame.style.setProperty("--at", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value}% original`);
  };
  slider.addEventListener("input", show);
  show();
  // HEIC, for example, is shown by few browsers: then there is only an after.
  before.onerror = () => {
    frame.replaceChildren(after);
    frame.after(note("Your browser cannot show the original of this format."));
  };
  return frame;
}

export function videos(name, local, remote) {
  const before = element("video", { src: local, muted: true, playsInline: true, preload: "auto" });
  const after = element("video", { src: remote, controls: true, playsInline: true, preload: "auto" });
  before.tabIndex = -1;
  before.setAttribute("aria-hidden", "true");
  after.setAttribute("aria-label", `${name} with faces hidden; the original plays in step`);
  const left = element("figure", {}, before, tag("Before", "left"));
  const frame = element("div", { className: "players" },
    left, element("figure", {}, after, tag("After", "left")));
  keepInStep(after, before);
  before.addEventListener("click", () => (after.paused ? after.play() : after.pause()));
  before.onerror = () => {
    left.remove();
    frame.after(note("Your browser cannot play the original of this format."));
  };
  return frame;
}

const DRIFT = 0.06; // seconds; two frames at 30 a second are seen as out of step

function keepInStep(leader, follower) {
  const align = () => {
    if (Math.abs(follower.currentTime - leader.currentTime) > DRIFT) {
      follower.currentTime = leader.currentTime;
    }
  };
  leader.addEventListener("play", () => { align(); follower.play().catch(() => {}); });
  leader.addEventListener("pause", () => { follower.pause(); align(); });
  leader.addEventListener("ratechange", () => { follower.playbackRate = leader.playbackRate; });
  for (const name of ["seeking", "seeked", "timeupdate"]) leader.addEventListener(name, align);
  leader.addEventListener("waiting", () => follower.pause());
  leader.addEventListener("playing", () => follower.play().catch(() => {}));
}
