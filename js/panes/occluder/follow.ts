/** Finding a class to follow, among all that the network knows. */
import { complained } from "../../lib/complaint";
import { captioned, onEntry } from "../../lib/controls";
import { el, on, uniqueId } from "../../lib/dom";
import type { View } from "../../seam";
import type { OccluderState } from "./state";

/** The field, and what is said of what was typed. */
export function followField({ store, kernel }: View<OccluderState>): readonly [HTMLElement, HTMLElement] {
  const what = "Follow any class: type a part of its name";
  const options = el("datalist", { id: uniqueId("classes") });
  const field = el("input.cs-follow", {
    type: "search",
    placeholder: "any class",
    "aria-label": what,
    title: what,
    list: options.id,
  });
  const { element, said, complain } = complained(field, options);
  // Some networks know thousands: they come when somebody looks for one.
  const known = () => {
    const there = store.get("labels").length > 0;
    if (!there && !kernel.awaits("labels")) kernel.ask("labels", {});
    return there;
  };
  on(field, "focus", known);
  store.follow("labels", (labels) =>
    options.replaceChildren(...labels.map((value) => el("option", { value }))),
  );
  store.onChange(["target"], () => complain(""));
  onEntry(field, store, "labels", known, () => {
    const query = field.value.trim().toLowerCase();
    const labels = store.get("labels").map((label) => label.toLowerCase());
    const exact = labels.indexOf(query);
    const target = exact >= 0 ? exact : labels.findIndex((label) => label.includes(query));
    complain("");
    if (query === "") return;
    if (target < 0) return complain(`Expected a part of a class’s name, got “${query}”. No class has it.`);
    field.value = "";
    store.set({ target });
  });
  const part = captioned("follow", element);
  part.classList.add("cs-live");
  return [part, said];
}
