/** The status line: device, latency, what is under way and how to stop it. */
import { aria, el, on, text } from "../../lib/dom";
import { duration } from "../../lib/format";
import type { View } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { Work } from "../shared/work";

export function statusPane(view: View<NetworkSlice>, root: HTMLElement, work: Work | null = null): void {
  const device = deviceLine(view, work);
  const latency = latencyLine(view);
  root.append(el("div.cs-status", device, latency, ...(work ? [workLine(view, work)] : [])));
}

function deviceLine({ store }: View<NetworkSlice>, work: Work | null): HTMLElement {
  const dot = el("i.cs-status__dot");
  const network = el("span.cs-status__network");
  const state = el("span.cs-status__state");
  const line = el("span.cs-status__device", dot, network, state);
  const show = () => {
    const { name, device } = store.get("_network");
    const offline = store.get("offline");
    const absent = store.get("absent");
    // Long work answers between its steps: that is no other state.
    const busy = store.get("slow")[0] || work?.progress().state === "running";
    const word = offline ? "a saved page: no kernel" : absent ? "no kernel" : busy ? "computing" : "ready";
    const before = ` · ${device} · `;
    dot.dataset.state = word;
    text(network, name);
    text(state, (offline || absent ? " · " : before) + word);
    // The longest that it says while it is here: what stands behind it does not move.
    state.dataset.room = `${before}computing`;
    line.title = line.textContent ?? "";
  };
  store.watch(["_network", "slow", "offline", "absent"], show);
  work?.onChange(show);
  return line;
}

function latencyLine({ store }: View<object>): HTMLElement {
  const latency = el("span.cs-status__latency", {
    title: "From moving the occluder to the new probabilities",
  });
  store.follow("latency", (value) => {
    if (value === null) return text(latency, "");
    text(latency, `answer in ${value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`}`);
  });
  return latency;
}

function workLine({ store, kernel }: View<object>, work: Work): HTMLElement {
  const bar = el("i");
  const meter = el("span.cs-progress", { role: "progressbar", "aria-label": work.label }, bar);
  const progress = el("span.cs-status__progress");
  const cancel = el("button.cs-link");
  const again = el("button.cs-link");
  const line = el("span.cs-status__work", meter, progress, cancel, again);
  // How far it was when it was to stop: of other work, which begins anew, that says nothing.
  let stopsAt = 0;
  on(again, "click", () => work.resume?.());
  const show = () => {
    const { done, total, left, state: last } = work.progress();
    const offline = store.get("offline");
    const state = last === "running" && offline ? "cancelled" : last;
    cancel.disabled &&= state === "running" && done >= stopsAt;
    const stopped = state === "cancelled" || state === "failed";
    line.hidden = state === "none";
    meter.hidden = cancel.hidden = state !== "running";
    text(cancel, cancel.disabled ? "stopping…" : "cancel");
    again.hidden = !work.resume || !stopped || offline;
    text(again, (state === "failed" && work.retry) || "continue");
    bar.style.width = `${(100 * done) / (total || 1)}%`;
    aria(meter, "valuemax", total);
    aria(meter, "valuenow", done);
    const note = work.note?.() ?? "";
    const remaining = cancel.disabled || left === null ? "" : `, ${duration(left)} left`;
    const far = `${done} of ${total}`;
    const words = {
      none: "",
      running: total > 0 ? `${work.noun} ${far}${remaining}${note}` : work.begins,
      done: `${work.whole(done)}${note}`,
      cancelled: `${work.noun} stopped after ${far}${note}`,
      failed: work.failure?.(work.progress()) ?? `${work.noun} failed after ${far}`,
    }[state];
    text(progress, words);
    progress.title = words;
    line.dataset.state = state;
  };
  on(cancel, "click", () => {
    kernel.tell("cancel");
    stopsAt = work.progress().done;
    cancel.disabled = true;
    show();
  });
  work.onChange(show);
  store.watch(["offline"], show);
  return line;
}
