/**
 * The front end of every instrument, in one bundle.
 *
 * A widget model has one session (store and line to the kernel); each of its views mounts the panes of the instrument
 * that `_instrument` names. Panes know the store, their element and a signal, nothing of Jupyter.
 */
import { addressPane, ribbonPane } from "./explorer/ribbon";
import { statusPane } from "./explorer/status";
import { linkStrip, stripPane } from "./explorer/strip";
import { gridPane } from "./filters/grid";
import { ordered } from "./filters/order";
import { linkFilters } from "./filters/requests";
import { el, text } from "./lib/dom";
import { errorBox } from "./lib/errors";
import { followTheme } from "./lib/theme";
import { classesPane } from "./occluder/classes";
import { controlsPane } from "./occluder/controls";
import { picturePane } from "./occluder/picture";
import { linkOccluder } from "./occluder/requests";
import { type Saved, savedModel } from "./saved";
import { type Model, openSession, type Session } from "./session";
import { linkUnit } from "./unit/requests";
import { unitPane } from "./unit/unit";

interface Instrument {
  /** What it asks of the kernel: once per model. */
  link: (session: Session) => void;
  /** Its panes: once per view. */
  mount: (session: Session, root: HTMLElement, signal: AbortSignal) => void;
}

function pane(root: HTMLElement, name: string): HTMLElement {
  return root.appendChild(el("div", { class: `cs-pane cs-pane--${name}` }));
}

function pictureHeading({ store }: Session, root: HTMLElement, signal: AbortSignal): void {
  const name = el("span", { class: "cs-heading__name" });
  root.append(el("h3", { class: "cs-heading" }, "Picture", name));
  store.watch(
    ["picture", "_pictures"],
    () => text(name, store.get("_pictures")[store.get("picture")]?.name ?? ""),
    signal,
  );
}

/** Something to look at before anything is clicked: the unit that answers most strongly to the first picture. */
function selectStrongest({ store, signal }: Session): void {
  let done = false;
  store.onChange(
    ["grid"],
    () => {
      const grid = store.get("grid");
      if (done || !grid || grid.layer !== store.get("layer")) return;
      done = true;
      if (store.get("selected") === null)
        store.set({ selected: ordered(grid, "strongest", null)[0] ?? null });
    },
    signal,
  );
}

const INSTRUMENTS: Record<string, Instrument> = {
  occluder: {
    link: linkOccluder,
    mount: (session, root, signal) => {
      const picture = pane(root, "picture");
      pictureHeading(session, picture, signal);
      picturePane(session.store, picture, signal);
      controlsPane(session.store, picture, signal);
      classesPane(session.store, pane(root, "classes"), signal);
      statusPane(session, pane(root, "status"), signal);
    },
  },
  filters: {
    link: linkFilters,
    mount: (session, root, signal) => {
      gridPane(session.store, pane(root, "grid"), signal);
    },
  },
  unit: {
    link: linkUnit,
    mount: (session, root, signal) => {
      unitPane(session.store, pane(root, "unit"), signal);
      statusPane(session, pane(root, "status"), signal);
    },
  },
  explorer: {
    link: (session) => {
      linkOccluder(session);
      linkFilters(session);
      linkUnit(session);
      linkStrip(session);
      selectStrongest(session);
    },
    mount: (session, root, signal) => {
      const { store } = session;
      ribbonPane(store, pane(root, "ribbon"), signal);
      const left = pane(root, "picture");
      pictureHeading(session, left, signal);
      picturePane(store, left, signal);
      controlsPane(store, left, signal);
      classesPane(store, left, signal);
      stripPane(session, left, root, signal);
      gridPane(store, pane(root, "grid"), signal);
      unitPane(store, pane(root, "unit"), signal);
      const status = pane(root, "status");
      statusPane(session, status, signal);
      addressPane(store, status, signal);
    },
  },
};

/** Draw one view of an instrument into `host`. */
function mount(session: Session, name: string, host: HTMLElement, signal: AbortSignal): void {
  const instrument = INSTRUMENTS[name];
  if (!instrument) throw new Error(`convscope has no instrument "${name}"`);
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

function link(session: Session, name: string): void {
  INSTRUMENTS[name]?.link(session);
}

/** Show an instrument that `to_html` saved. */
export function showSaved(saved: Saved, host: HTMLElement): void {
  const { signal } = new AbortController();
  const model = savedModel(saved);
  const session = openSession(model, signal);
  session.store.set({ offline: true });
  const name = String(model.get("_instrument"));
  link(session, name);
  mount(session, name, host, signal);
}

interface Context {
  model: Model;
  signal: AbortSignal;
}

/** anywidget calls this once for each model: the closure is what the model's views share. */
export default () => {
  let session: Session | null = null;
  let views = 0;
  const share = (model: Model): Session => {
    if (session && !session.signal.aborted) return session;
    const controller = new AbortController();
    session = openSession(model, controller.signal);
    link(session, String(model.get("_instrument")));
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
        mount(shared, String(model.get("_instrument")), host, signal);
      } catch (error) {
        const { name, message, stack = "" } = error as Error;
        host.replaceChildren(
          errorBox({ kind: "render", name, message: `${message} (convscope)`, details: stack }, null, signal),
        );
      }
    },
  };
};
