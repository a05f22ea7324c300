/** The pictures at hand: choose one, add more by dropping, pasting or picking files, remove those again. */
import { aria, el, errorsOf, focused, on, onKey, text, within } from "../../lib/dom";
import { unreadText } from "../../lib/format";
import { clamp } from "../../lib/geometry";
import { show } from "../../lib/photo";
import type { View } from "../../seam";
import type { StripState } from "./state";

/** `drop`: where files may be dropped and pasted. */
export function stripPane(view: View<StripState>, root: HTMLElement, drop: HTMLElement): void {
  const { store, kernel } = view;
  const { add, file } = addButton(view, drop);
  const strip = el("div.cs-strip", { role: "group", "aria-label": "Pictures" });
  const unread = el("p.cs-strip__unread");
  root.append(
    errorsOf("add remove thumbnails pinned_picture"),
    el("div.cs-strip__room", strip),
    unread,
    file,
  );

  const items = () => [...strip.querySelectorAll<HTMLElement>(".cs-strip__item")];
  /** Of the picture whose thumbnail, or what belongs to it, has the focus; -1 for none. */
  const place = () => items().findIndex((item) => item.contains(focused(strip)));
  const focus = (index: number) => items()[index]?.querySelector("button")?.focus({ preventScroll: true });
  const mark = () => {
    strip.querySelectorAll<HTMLElement>("[data-picture]").forEach((button, index) => {
      const chosen = index === store.get("picture");
      aria(button, "current", chosen);
      // With the chosen one, what removes it can be reached by Tab.
      for (const one of button.parentElement?.children ?? []) (one as HTMLElement).tabIndex = chosen ? 0 : -1;
    });
  };
  store.watch(["_pictures", "thumbnails", "offline"], () => {
    // What adds is in sight however many there are.
    strip.replaceChildren(add, ...thumbnails(view));
    const names = Object.keys(store.get("unread")).map(
      (index) => store.get("_pictures")[Number(index)]?.name ?? [],
    );
    text(unread, unreadText(names.flat()));
    unread.title = Object.values(store.get("unread")).join("\n");
    mark();
  });
  store.onChange(["picture"], mark);
  const remove = (index: number): boolean => {
    const added = store.get("_pictures")[index]?.added;
    if (added === undefined) return false;
    kernel.tell("remove", { added });
    return true;
  };
  on(strip, "click", (event) => {
    const { remove: removed, picture } = within(event, "button")?.dataset ?? {};
    if (removed !== undefined) remove(Number(removed));
    else if (picture !== undefined) store.set({ picture: Number(picture) });
  });
  onKey(strip, ({ key }) => {
    if (key === "Delete") return remove(place());
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return false;
    let picture = store.get("picture");
    const last = store.get("_pictures").length - 1;
    do picture += step;
    while (picture in store.get("unread"));
    if (picture !== clamp(picture, 0, last)) return true;
    store.set({ picture });
    focus(picture);
    return true;
  });
}

function thumbnails({ store }: View<StripState>): HTMLElement[] {
  const offline = store.get("offline");
  return store.get("_pictures").map(({ name, label, added }, index) => {
    const canvas = el("canvas.cs-thumbnail__canvas");
    const photo = store.get("thumbnails")[index];
    if (photo) show(canvas, photo.pixels, photo.width, photo.height);
    const reason = store.get("unread")[index];
    const choose = el(
      "button.cs-thumbnail",
      {
        title: reason ?? (label ? `${name} · ${label}` : name),
        "aria-label": name,
        "data-picture": index,
        disabled: reason !== undefined || (offline && index !== store.get("picture")),
      },
      reason ? "!" : canvas,
    );
    const title = `Remove ${name}`;
    const remove = { title: `${title} (Delete)`, "aria-label": title, "data-remove": index };
    const removable = added !== undefined && !offline;
    return el(
      "span.cs-strip__item",
      choose,
      ...(removable ? [el("button.cs-strip__remove", remove, "×")] : []),
    );
  });
}

/** The button that adds pictures, and the other ways to. */
function addButton({ kernel }: View<StripState>, drop: HTMLElement): { add: HTMLElement; file: HTMLElement } {
  const file = el("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  const add = el(
    "button.cs-thumbnail.cs-thumbnail--add.cs-live",
    {
      title: "Add pictures: pick, drop or paste",
      "aria-label": "Add pictures",
    },
    "+",
    el("span", "add"),
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
  return { add, file };
}
