/**
 * What every instrument's bundle exports: an anywidget, and a way to show a saved page.
 *
 * A widget model has one session (store and line to the kernel); each of its views mounts the panes of its instrument.
 */
import { el, onEnd } from "../lib/dom";
import { keepFocus } from "../lib/focus";
import { Store } from "../lib/store";
import { showTitles } from "../lib/titles";
import type { Session, Slice, Slices, Sum, View } from "../seam";
import { showAbsence } from "./absence";
import { watchChart } from "./charts";
import { errorBox, showErrors } from "./errors";
import { linkFigures } from "./figures";
import { keepKeys, openPage } from "./page";
import { type Saved, savedModel } from "./saved";
import { type Model, openSession } from "./session";

/** An instrument is the sum of its panes: of their state, their requests and their views. */
export interface Instrument<T extends Slices> {
  name: string;
  /** The slices of state that its panes name. */
  slices: T;
  /** What it asks of the kernel: once per model. */
  link: (session: Session<Sum<T>>) => void;
  /** Its panes: once per view. */
  mount: (view: View<Sum<T>>, root: HTMLElement) => void;
}

/** Both forms of an instrument: what anywidget takes, and what shows one that `to_html` saved. */
export function instrument<const T extends Slices>(of: Instrument<T>) {
  // That the slices are what the panes name is checked where an instrument is made; the host knows none of them.
  const known = of as unknown as Known;
  return { widget: widget(known), showSaved: showSaved(known) };
}

type Known = Instrument<readonly []>;

/** Draw one view of an instrument into `host`. */
function mount(session: Session<object>, known: Known, host: HTMLElement, signal: AbortSignal): void {
  const { name } = known;
  // It takes the focus where a click meets nothing that does: keys that follow are then meant for it.
  const root = el("div", { class: `cs-root cs-root--${name}`, "data-instrument": name, tabindex: "-1" });
  // The outer element measures the width that the host grants; the panes arrange themselves by it.
  // What is written in it runs from left to right, whatever the page around it does.
  const outer = el("div.cs-host", { dir: "ltr", lang: "en" }, root);
  host.append(outer);
  const view = {
    ...session,
    store: new Store(session.store, signal),
    page: openPage(outer, root, signal),
    signal,
  };
  keepKeys(outer, signal);
  keepFocus(outer, signal);
  known.mount(view, root);
  showErrors(view, root);
  showAbsence(view, outer, root);
  watchChart(view.store, outer, signal);
  showTitles(root);
}

const showSaved = (known: Known) => (saved: Saved, host: HTMLElement) => {
  const { signal } = new AbortController();
  const refused = () => session.store.set({ refused: session.store.get("refused") + 1 });
  const session: Session<object> = openSession(savedModel(saved, refused), known.slices, signal, true);
  session.store.set({ uncharted: true });
  session.store.keep(
    known.slices.flatMap((slice: Slice<object>) => slice.asks ?? []),
    refused,
  );
  known.link(session);
  linkFigures(session);
  mount(session, known, host, signal);
};

interface Context {
  model: Model;
  signal: AbortSignal;
}

/** anywidget calls what this returns once for each model: the closure is what the model's views share. */
const widget = (known: Known) => () => {
  let session: Session<object> | null = null;
  let closeSession = () => {};
  let views = 0;
  const share = (model: Model): Session<object> => {
    if (session && !session.signal.aborted) return session;
    const controller = new AbortController();
    session = openSession(model, known.slices, controller.signal);
    known.link(session);
    linkFigures(session);
    closeSession = () => controller.abort();
    return session;
  };
  return {
    initialize({ signal }: Context) {
      onEnd(signal, () => closeSession());
    },
    render({ model, el: host, signal }: Context & { el: HTMLElement }) {
      try {
        const shared = share(model);
        views += 1;
        onEnd(signal, () => {
          views -= 1;
          // The last view is gone: the kernel may let go of its thread and tensors until there is one again.
          if (views > 0) return;
          shared.kernel.tell("release");
          closeSession();
        });
        mount(shared, known, host, signal);
      } catch (error) {
        const { name, message, stack = "" } = error as Error;
        host.replaceChildren(
          errorBox({ kind: "render", name, message: `${message} (convscope)`, details: stack }, null),
        );
      }
    },
  };
};
