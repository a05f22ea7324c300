/** The pictures at hand: choose one, or add more by dropping, pasting or picking files. */

import { rgba } from "../lib/atlas";
import { el, on, onFrame } from "../lib/dom";
import { bytes } from "../lib/kernel";
import type { Session } from "../session";
import type { Photo } from "../state";

export function linkStrip({ store, kernel, signal }: Session): void {
  kernel.answers("thumbnails", (answer, [rgb]) => {
    const [side, count] = [answer.side as number, answer.count as number];
    const all = bytes(rgb);
    const step = side * side * 3;
    const thumbnails: Photo[] = Array.from({ length: count }, (_, picture) => ({
      picture,
      height: side,
      width: side,
      pixels: rgba(all.subarray(picture * step, (picture + 1) * step)),
    }));
    store.set({ thumbnails });
  });
  store.watch(["_pictures"], () => kernel.ask("thumbnails", {}), signal);
}

export function stripPane(session: Session, root: HTMLElement, drop: HTMLElement, signal: AbortSignal): void {
  const { store, kernel } = session;
  const file = el("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  const add = el(
    "button",
    {
      type: "button",
      class: "cs-thumbnail cs-thumbnail--add",
      title: "Add pictures: pick, drop or paste",
      "aria-label": "Add pictures",
    },
    "+",
  );
  const strip = el("div", { class: "cs-strip", role: "listbox", "aria-label": "Pictures" });
  root.append(strip, file);

  const rebuild = onFrame(() => {
    const pictures = store.get("_pictures");
    const thumbnails = store.get("thumbnails");
    strip.replaceChildren(
      ...pictures.map(({ name, label }, index) => {
        const canvas = el("canvas", { class: "cs-thumbnail__canvas", "aria-hidden": "true" });
        const photo = thumbnails[index];
        if (photo) {
          canvas.width = photo.width;
          canvas.height = photo.height;
          canvas.getContext("2d")?.putImageData(new ImageData(photo.pixels, photo.width, photo.height), 0, 0);
        }
        const chosen = index === store.get("picture");
        const button = el(
          "button",
          {
            type: "button",
            class: "cs-thumbnail",
            role: "option",
            "aria-selected": String(chosen),
            tabindex: chosen ? 0 : -1,
            title: label ? `${name} · ${label}` : name,
            "aria-label": name,
            "data-picture": index,
          },
          canvas,
        );
        return button;
      }),
      add,
    );
  }, signal);
  store.watch(["_pictures", "thumbnails"], rebuild, signal);
  store.watch(
    ["picture"],
    () => {
      strip.querySelectorAll<HTMLElement>("[data-picture]").forEach((button, index) => {
        const chosen = index === store.get("picture");
        button.setAttribute("aria-selected", String(chosen));
        button.tabIndex = chosen ? 0 : -1;
      });
    },
    signal,
  );
  on(
    strip,
    "click",
    (event) => {
      const picture = (event.target as HTMLElement).closest<HTMLElement>("[data-picture]")?.dataset.picture;
      if (picture !== undefined) store.set({ picture: Number(picture) });
    },
    signal,
  );
  on(
    strip,
    "keydown",
    (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const last = store.get("_pictures").length - 1;
      const picture = Math.min(Math.max(store.get("picture") + step, 0), last);
      store.set({ picture });
      strip.querySelector<HTMLElement>(`[data-picture="${picture}"]`)?.focus({ preventScroll: true });
      event.preventDefault();
      event.stopPropagation();
    },
    signal,
  );

  const send = async (files: Iterable<File>) => {
    for (const one of files) {
      kernel.tell("add", { name: one.name }, [await one.arrayBuffer()]);
    }
  };
  on(add, "click", () => file.click(), signal);
  on(file, "change", () => void send(file.files ?? []).then(() => (file.value = "")), signal);
  on(
    drop,
    "dragover",
    (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.stopPropagation();
      drop.classList.add("cs-is-dropping");
    },
    signal,
  );
  on(drop, "dragleave", () => drop.classList.remove("cs-is-dropping"), signal);
  on(
    drop,
    "drop",
    (event) => {
      drop.classList.remove("cs-is-dropping");
      const files = event.dataTransfer?.files;
      if (!files?.length) return;
      event.preventDefault();
      event.stopPropagation();
      void send(files);
    },
    signal,
  );
  on(
    drop,
    "paste",
    (event) => {
      const files = event.clipboardData?.files;
      if (!files?.length) return;
      event.preventDefault();
      event.stopPropagation();
      void send(files);
    },
    signal,
  );
  store.watch(["offline"], () => (add.hidden = store.get("offline")), signal);
}
