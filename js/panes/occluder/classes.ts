/**
 * Class probabilities before and after: five rows that keep their places, one for a class that is followed and none of
 * these, and one for whatever else comes up.
 */
import { aria, dim, el, is, on, text } from "../../lib/dom";
import { change, many, probability } from "../../lib/format";
import { same } from "../../lib/store";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { followField } from "./follow";
import type { ClassScore, OccluderState } from "./state";

interface Row {
  element: HTMLButtonElement;
  show: (score: ClassScore | null, first: boolean, target: boolean) => void;
}

function row(choose: (index: number) => void): Row {
  const label = el("span.cs-class__label");
  const badge = el("span.cs-class__badge", "now first");
  const value = el("span.cs-class__value");
  const before = el("i.cs-class__bar.cs-class__bar--before");
  const after = el("i.cs-class__bar.cs-class__bar--after");
  const whole = el("i.cs-class__whole");
  const element = el(
    "button.cs-class",
    label,
    badge,
    value,
    el("span.cs-class__track", before, after, whole),
  );
  let shown: ClassScore | null = null;
  on(element, "click", () => shown && choose(shown.index));
  return {
    element,
    show: (score, first, target) => {
      shown = score;
      is(element, "empty", !score);
      is(element, "first", first);
      is(element, "target", target);
      aria(element, "pressed", target);
      text(label, score?.label ?? " ");
      text(value, score ? probability(score.now) : " ");
      const all = score?.whole;
      element.title = score
        ? `${score.label}: ${probability(score.clean)} clean, ${probability(score.now)} occluded` +
          `${all === undefined ? "" : `, ${probability(all)} clean with nothing silenced`}` +
          `${target || element.disabled ? "" : ". Click to follow this class"}`
        : "";
      whole.hidden = all === undefined;
      whole.style.left = `${100 * (all ?? 0)}%`;
      before.style.width = `${100 * (score?.clean ?? 0)}%`;
      after.style.width = `${100 * (score?.now ?? 0)}%`;
      is(value, "up", !!score && score.now > score.clean + 0.0005);
    },
  };
}

export function classesPane(view: View<OccluderState>, root: HTMLElement): void {
  const { store } = view;
  const choose = (index: number) => store.set({ target: store.get("target") === index ? null : index });
  const name = el("span.cs-target__label");
  const now = el("span.cs-target__value");
  const delta = el("span.cs-target__change");
  const flip = el("div.cs-flip");
  const rows = Array.from({ length: 7 }, () => row(choose));
  const whole = el(
    "span.cs-legend",
    { title: "Of the clean picture, with nothing silenced" },
    el("i.cs-legend__key.cs-legend__key--whole"),
    "whole",
  );
  const legend = el(
    "span.cs-legend",
    el("i.cs-legend__key.cs-legend__key--before"),
    "clean",
    el("i.cs-legend__key.cs-legend__key--after"),
    "occluded",
    whole,
  );
  const independent = dim();
  independent.title =
    "Each class has a probability of its own, whatever the others have: they need not sum to 1";
  const [field, complaint] = followField(view);
  const list = el("div.cs-classes", ...rows.slice(0, 6).map(({ element }) => element));
  const pane = el(
    "div.cs-probabilities",
    el("div.cs-target", name, el("span.cs-target__numbers", delta, now)),
    flip,
    el("h3.cs-heading", "Classes", independent, field, legend),
    complaint,
    list,
    el("div.cs-classes.cs-classes--other", ...rows.slice(6).map(({ element }) => element)),
  );
  root.append(pane);

  store.follow("offline", (offline) => {
    for (const { element } of rows) element.disabled = offline;
  });
  store.follow("frame", (frame) => {
    whole.hidden = frame?.target.whole === undefined;
    if (rows[5]) rows[5].element.hidden = !frame?.classes[5];
    if (!frame) {
      for (const { show } of rows) show(null, false, false);
      text(name, " ");
      text(now, " ");
      text(delta, " ");
      text(flip, " ");
      return;
    }
    const flipped = frame.first.index !== frame.before.index;
    text(name, frame.target.label);
    text(independent, frame.independent ? "independent" : "");
    text(now, probability(frame.target.now));
    text(delta, change(frame.target.now - frame.target.clean));
    delta.dataset.sign = String(Math.sign(Math.round((frame.target.now - frame.target.clean) * 1000)));
    // What the whole network says there, too, is not the silence's doing.
    const { unsilenced } = frame;
    const apart = unsilenced && unsilenced.index !== frame.first.index;
    is(flip, "flipped", flipped || !!apart);
    // Of classes of a network that returns none of its numbers nothing can be said.
    if (Number.isNaN(frame.target.now)) text(flip, "the network returns NaN here");
    else if (apart)
      text(
        flip,
        `without ${many(frame.silenced ?? 0, "unit")}: ${frame.first.label} instead of ${unsilenced.label}`,
      );
    else text(flip, flipped ? `${frame.before.label} → ${frame.first.label}` : `still ${frame.before.label}`);
    flip.title = flip.textContent ?? "";
    rows.forEach(({ show }, index) => {
      const score = (index === 6 ? frame.other : frame.classes[index]) ?? null;
      show(score, flipped && score?.index === frame.first.index, score?.index === frame.target.index);
    });
    pane.dataset.position = frame.position.join(",");
  });
  // An older number is dimmed as soon as the square has left it and the kernel has taken more than 300 ms.
  showAwaited(view, pane, "occlude", ["slow", "frame", "position", "picture"], () => {
    const frame = store.get("frame");
    const slow = store.get("slow").includes("occlude");
    aria(pane, "busy", slow);
    if (!frame) return "loading";
    const moved = !same(frame.position, store.get("position"));
    return (slow && moved) || frame.picture !== store.get("picture") ? "stale" : "";
  });
}
