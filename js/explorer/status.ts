/** The status line: device, latency, what is under way and how to stop it. */
import { el, on, text } from "../lib/dom";
import { duration } from "../lib/format";
import type { Session } from "../session";

export function statusPane({ store, kernel }: Session, root: HTMLElement, signal: AbortSignal): void {
  const dot = el("i", { class: "cs-status__dot", "aria-hidden": "true" });
  const device = el("span", {});
  const latency = el("span", { title: "From moving the occluder to the new probability" });
  const bar = el("i", {});
  const meter = el("span", { class: "cs-progress", role: "progressbar", "aria-label": "Survey" }, bar);
  const progress = el("span", { class: "cs-status__progress" });
  const cancel = el("button", { type: "button", class: "cs-link" }, "cancel");
  const survey = el("span", { class: "cs-status__survey" }, meter, progress, cancel);
  root.append(el("div", { class: "cs-status" }, el("span", {}, dot, device), latency, survey));
  on(cancel, "click", () => kernel.tell("cancel"), signal);

  store.watch(
    ["_network", "slow", "offline"],
    () => {
      const { name, device: where } = store.get("_network");
      const [offline, slow] = [store.get("offline"), store.get("slow").length > 0];
      dot.dataset.state = offline ? "off" : slow ? "busy" : "ready";
      text(
        device,
        offline
          ? `${name} · a saved page: no kernel`
          : `${name} · ${where} · ${slow ? "computing" : "ready"}`,
      );
    },
    signal,
  );
  store.watch(
    ["latency"],
    () => {
      const value = store.get("latency");
      text(latency, value === null ? "" : `${Math.round(value)} ms`);
    },
    signal,
  );
  store.watch(
    ["_survey"],
    () => {
      const { state, done, total, left, skipped } = store.get("_survey");
      survey.hidden = state === "none";
      const running = state === "running";
      meter.hidden = cancel.hidden = !running;
      bar.style.width = `${total > 0 ? (100 * done) / total : 0}%`;
      meter.setAttribute("aria-valuemax", String(total));
      meter.setAttribute("aria-valuenow", String(done));
      const unread = skipped > 0 ? `, ${skipped} unreadable` : "";
      const remaining = left === null ? "" : `, ${duration(left)} left`;
      const said = {
        none: "",
        running: `survey ${done} of ${total}${remaining}${unread}`,
        done: `survey of ${done} pictures${unread}`,
        cancelled: `survey stopped after ${done} of ${total}${unread}`,
        failed: `survey failed after ${done} of ${total}`,
      }[state];
      text(progress, said);
    },
    signal,
  );
}
