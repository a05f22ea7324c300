/** The status line: device, latency, what is under way and how to stop it. */
import { aria, el, on, text } from "../../lib/dom";
import { duration } from "../../lib/format";
import type { View } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { Work } from "../shared/work";

export function statusPane(view: View<NetworkSlice>, root: HTMLElement, work: Work | null = null): void {
  const device = deviceLine(view);
  const latency = latencyLine(view);
  root.append(el("div.cs-status", device, latency, ...(work ? [workLine(view, work)] : [])));
}

function deviceLine({ store }: View<NetworkSlice>): HTMLElement {
  const dot = el("i.cs-status__dot");
  const device = el("span");
  store.watch(["_network", "slow", "offline", "absent"], () => {
    const { name, device: where } = store.get("_network");
    const [offline, slow] = [store.get("offline"), store.get("slow").length > 0];
    const absent = store.get("absent");
    dot.dataset.state = offline || absent ? "off" : slow ? "busy" : "ready";
    const live = `${where} · ${slow ? "computing" : "ready"}`;
    text(device, `${name} · ${offline ? "a saved page: no kernel" : absent ? "no kernel" : live}`);
    device.title = device.textContent ?? "";
  });
  return el("span", dot, device);
}

function latencyLine({ store }: View<object>): HTMLElement {
  const latency = el("span", { title: "Time from moving the occluder to the new probabilities" });
  store.follow("latency", (value) => {
    const time =
      (value ?? 0) < 1000 ? `${Math.round(value ?? 0)} ms` : `${((value ?? 0) / 1000).toFixed(1)} s`;
    text(latency, value === null ? "" : `answer in ${time}`);
  });
  return latency;
}

function workLine({ store, kernel }: View<object>, work: Work): HTMLElement {
  const bar = el("i");
  const meter = el("span.cs-progress", { role: "progressbar", "aria-label": work.label }, bar);
  const progress = el("span.cs-status__progress");
  const cancel = el("button.cs-link", "cancel");
  const again = el("button.cs-link");
  const line = el("span.cs-status__work", meter, progress, cancel, again);
  on(cancel, "click", () => kernel.tell("cancel"));
  on(again, "click", () => work.resume?.());
  const show = () => {
    const { done, total, left, state: last } = work.progress();
    const offline = store.get("offline");
    const state = last === "running" && offline ? "cancelled" : last;
    const stopped = state === "cancelled" || state === "failed";
    line.hidden = state === "none";
    meter.hidden = cancel.hidden = state !== "running";
    again.hidden = !work.resume || !stopped || offline;
    text(again, (state === "failed" && work.retry) || "continue");
    bar.style.width = `${total > 0 ? (100 * done) / total : 0}%`;
    aria(meter, "valuemax", total);
    aria(meter, "valuenow", done);
    const note = work.note?.() ?? "";
    const remaining = left === null ? "" : `, ${duration(left)} left`;
    text(
      progress,
      {
        none: "",
        running: total > 0 ? `${work.noun} ${done} of ${total}${remaining}${note}` : work.begins,
        done: `${work.whole(done)}${note}`,
        cancelled: `${work.noun} stopped after ${done} of ${total}${note}`,
        failed: work.failure?.(work.progress()) ?? `${work.noun} failed after ${done} of ${total}`,
      }[state],
    );
    progress.title = progress.textContent ?? "";
    line.dataset.state = state;
  };
  work.onChange(show);
  store.watch(["offline"], show);
  return line;
}
