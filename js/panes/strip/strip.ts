/** The pictures at hand: choose one, or add more by dropping, pasting or picking files. */
import { el, on, onKey, within } from "../../lib/dom";
import { show } from "../../lib/photo";
import type { View } from "../../seam";
import type { StripState } from "./state";

/** `drop`: where files may be dropped and pasted. */
export function stripPane(view: View<StripState>, root: HTMLElement, drop: HTMLElement): void {
  const { store } = view;
  const { add, file } = addButton(view, drop);
  const strip = el("div.cs-strip", { role: "listbox", "aria-label": "Pictures" });
  root.append(strip, file);

  store.watch(["_pictures", "thumbnails", "offline"], () => strip.replaceChildren(...thumbnails(view), add));
  store.follow("picture", (picture) => {
    strip.querySelectorAll<HTMLElement>("[data-picture]").forEach((button, index) => {
      const chosen = index === picture;
      button.setAttribute("aria-selected", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    });
  });
  on(strip, "click", (event) => {
    const picture = within(event, "[data-picture]")?.dataset.picture;
    if (picture !== undefined) store.set({ picture: Number(picture) });
  });
  onKey(strip, ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step || store.get("offline")) return false;
    const last = store.get("_pictures").length - 1;
    const picture = Math.min(Math.max(store.get("picture") + step, 0), last);
    store.set({ picture });
    strip.querySelector<HTMLElement>(`[data-picture="${picture}"]`)?.focus({ preventScroll: true });
    return true;
  });
}

function thumbnails({ store }: View<StripState>): HTMLElement[] {
  return store.get("_pictures").map(({ name, label }, index) => {
    const canvas = el("canvas.cs-thumbnail__canvas", { "aria-hidden": "true" });
    const photo = store.get("thumbnails")[index];
    if (photo) show(canvas, photo.pixels, photo.width, photo.height);
    const chosen = index === store.get("picture");
    return el(
      "button.cs-thumbnail",
      {
        role: "option",
        "aria-selected": String(chosen),
        tabindex: chosen ? 0 : -1,
        title: label ? `${name} · ${label}` : name,
        "aria-label": name,
        "data-picture": index,
        disabled: store.get("offline") && !chosen,
      },
      canvas,
    );
  });
}

/** The button that adds pictures, and the other ways to. */
function addButton(
  { store, kernel }: View<StripState>,
  drop: HTMLElement,
): { add: HTMLElement; file: HTMLElement } {
  const file = el("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  const add = el(
    "button.cs-thumbnail.cs-thumbnail--add",
    {
      title: "Add pictures: pick, drop or paste",
      "aria-label": "Add pictures",
    },
    "+",
  );
  const upload = async (files: Iterable<File>) => {
    for (const one of files) {
      kernel.tell("add", { name: one.name }, [await one.arrayBuffer()]);
    }
  };
  /** Take the files that an event brings; without any it is not for here. */
  const take = (event: Event, files: FileList | undefined) => {
    if (!files?.length) return;
    event.preventDefault();
    event.stopPropagation();
    void upload(files);
  };
  on(add, "click", () => file.click());
  on(file, "change", () => void upload(file.files ?? []).then(() => (file.value = "")));
  on(drop, "dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    drop.classList.add("cs-is-dropping");
  });
  on(drop, "dragleave", ({ relatedTarget }) => {
    // From one part of it to another it is still over the whole.
    if (!drop.contains(relatedTarget as Node | null)) drop.classList.remove("cs-is-dropping");
  });
  on(drop, "drop", (event) => {
    drop.classList.remove("cs-is-dropping");
    take(event, event.dataTransfer?.files);
  });
  on(drop, "paste", (event) => take(event, event.clipboardData?.files));
  store.follow("offline", (offline) => (add.hidden = offline));
  return { add, file };
}
