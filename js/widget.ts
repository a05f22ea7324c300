/**
 * What every instrument's bundle exports: an anywidget, and a way to show a saved page.
 *
 * A widget model has one session (store and line to the kernel); each of its views mounts the panes of its instrument.
 * Panes know the store, their element and a signal, nothing of Jupyter.
 */
import { el, text } from "./lib/dom";
import { errorBox } from "./lib/errors";
import { followTheme } from "./lib/theme";
import { type Saved, savedModel } from "./saved";
import { type Model, openSession, type Session } from "./session";

export interface Instrument {
  name: string;
  /** What it asks of the kernel: once per model. */
  link: (session: Session) => void;
  /** Its panes: once per view. */
  mount: (session: Session, root: HTMLElement, signal: AbortSignal) => void;
}

export function pane(root: HTMLElement, name: string): HTMLElement {
  return root.appendChild(el("div", { class: `cs-pane cs-pane--${name}` }));
}

export function pictureHeading({ store }: Session, root: HTMLElement, signal: AbortSignal): void {
  const name = el("span", { class: "cs-heading__name" });
  root.append(el("h3", { class: "cs-heading" }, "Picture", name));
  store.watch(
    ["picture", "_pictures"],
    () => text(name, store.get("_pictures")[store.get("picture")]?.name ?? ""),
    signal,
  );
}

/** Draw one view of an instrument into `host`. */
function mount(session: Session, instrument: Instrument, host: HTMLElement, signal: AbortSignal): void {
  const { name } = instrument;
  const root = el("div", { class: `cs-root cs-root--${name}`, "data-instrument": name });
  // The outer element measures the width that the host grants; the panes arrange themselves by it.
  host.append(el("div", { class: "cs-host" }, root));
  followTheme(root, signal);
  instrument.mount(session, root, signal);
  const errors = root.appendChild(el("div", { class: "cs-errors" }));
  session.store.watch(
    ["errors"],
    () => {
      const shown = Object.values(session.store.get("errors"));
      errors.replaceChildren(
        ...shown.map((error) =>
          errorBox(
            error,
            () => {
              const { [error.kind]: _, ...others } = session.store.get("errors");
              session.store.set({ errors: others });
            },
            signal,
          ),
        ),
      );
    },
    signal,
  );
}

/** What shows, in an element, an instrument that `to_html` saved. */
export function saved(instrument: Instrument): (saved: Saved, host: HTMLElement) => void {
  return (saved, host) => {
    const { signal } = new AbortController();
    const session = openSession(savedModel(saved), signal);
    session.store.set({ offline: true });
    instrument.link(session);
    mount(session, instrument, host, signal);
  };
}

interface Context {
  model: Model;
  signal: AbortSignal;
}

/** anywidget calls what this returns once for each model: the closure is what the model's views share. */
export const widget = (instrument: Instrument) => () => {
  let session: Session | null = null;
  let views = 0;
  const share = (model: Model): Session => {
    if (session && !session.signal.aborted) return session;
    const controller = new AbortController();
    session = openSession(model, controller.signal);
    instrument.link(session);
    closeSession = () => controller.abort();
    return session;
  };
  let closeSession = () => {};
  return {
    initialize({ signal }: Context) {
      signal.addEventListener("abort", () => closeSession());
    },
    render({ model, el: host, signal }: Context & { el: HTMLElement }) {
      try {
        const shared = share(model);
        views += 1;
        signal.addEventListener("abort", () => {
          views -= 1;
          // The last view is gone: the kernel may let go of its thread and tensors until there is one again.
          if (views > 0) return;
          shared.kernel.tell("release");
          closeSession();
        });
        mount(shared, instrument, host, signal);
      } catch (error) {
        const { name, message, stack = "" } = error as Error;
        host.replaceChildren(
          errorBox({ kind: "render", name, message: `${message} (convscope)`, details: stack }, null, signal),
        );
      }
    },
  };
};
