/**
 * Whether there is a kernel behind the instrument, and what to say and do where there is none.
 *
 * A widget's model does not tell: of a kernel that was restarted, of a server that is gone, and of a notebook that was
 * opened again it says nothing, and what one sends is lost, or throws. What the host knows besides is asked here.
 */
import { onEnd } from "../lib/dom";
import type { Store } from "../lib/store";
import type { HostSlice } from "../seam";

/** Of JupyterLab's kernel connection, which its widget manager has, what is used here. */
interface Connection {
  status?: string;
  statusChanged?: Signal<string>;
  connectionStatusChanged?: Signal<string>;
  iopubMessage?: Signal<Told>;
  disposed?: Signal<unknown>;
}

/** Of what a kernel publishes, what is looked at here. */
interface Told {
  header: { msg_type: string; session: string };
  content: { execution_state?: string };
}

interface Signal<T> {
  connect(slot: (sender: unknown, value: T) => void): unknown;
  disconnect(slot: (sender: unknown, value: T) => void): unknown;
}

/** What a host's widget manager may have. */
interface Manager {
  kernel?: Connection | null;
  /** Of one that shows widgets of whatever kind. */
  create_view?: unknown;
}

export const GONE = "The kernel is gone: run the cell again.";
export const LOST = "The connection to the kernel is lost. It is tried again.";
export const NEVER = "There is no kernel behind this picture: run the cell to work with it.";
/** Where the host does not tell whether there is a kernel, a busy one and none sound alike. */
export const UNKNOWN =
  "No kernel has answered: it may be busy, or there is none. If this stays, run the cell again.";

/** What is said while nothing has ever come from a kernel. */
export const UNANSWERED: readonly (string | null)[] = [NEVER, UNKNOWN];

const ENDED = new Set(["restarting", "autorestarting", "terminating", "dead"]);

const OWN_WORDS = new Set<string | undefined>(["busy", "idle"]);

/** Milliseconds after which a greeting that an idle kernel has not answered is taken as heard by nobody. */
export const UNHEARD_MS = 6000;

/** Milliseconds after which a greeting that an idle kernel has not answered may yet be, but the still picture says more. */
export const SOON_MS = 1000;

export interface Presence {
  /** The kernel has said something. */
  heard(): void;
  /** What was sent could not leave. */
  failed(): void;
}

/** Watch for the end of the kernel, or of the line to it. `manager` is the host's, of whatever kind. */
export function watchPresence(store: Store<HostSlice>, manager: unknown, signal: AbortSignal): Presence {
  const connection = connectionOf(manager);
  store.set({
    told: connection?.statusChanged !== undefined,
    // marimo shows anywidgets and no others: of an instrument with a chart beneath the instrument.
    uncharted: manager != null && typeof (manager as Manager).create_view !== "function",
  });
  let answered = false;
  const say = (absent: string | null) => {
    if (!store.get("offline")) store.set({ absent });
  };
  const ended = () => say(answered ? GONE : NEVER);
  const changed = (_sender: unknown, status: string) => {
    // Of one that was restarted from elsewhere, from another page or over the server's interface, nothing but its start is
    // told; the one that has answered is gone then.
    if (ENDED.has(status) || (answered && status === "starting")) ended();
  };
  // Not even its start, where that is told before the server listens again. But each process of a kernel has a session of
  // its own, which is in all that it says. (The server says things in its name, too, but not that it is busy or idle.)
  let session: string | undefined;
  const told = (_sender: unknown, { header, content }: Told) => {
    if (header.msg_type !== "status" || !OWN_WORDS.has(content.execution_state)) return;
    if (answered && session !== undefined && header.session !== session) ended();
    else session = header.session;
  };
  const line = (_sender: unknown, status: string) => {
    if (store.get("absent") === GONE) return;
    if (status !== "connected") say(LOST);
    else if (store.get("absent") === LOST) say(null);
  };
  const listen = <T>(to: Signal<T> | undefined, slot: (sender: unknown, value: T) => void) => {
    to?.connect(slot);
    onEnd(signal, () => to?.disconnect(slot));
  };
  listen(connection?.statusChanged, changed);
  listen(connection?.connectionStatusChanged, line);
  listen(connection?.iopubMessage, told);
  listen(connection?.disposed, ended);
  const statusNow = () => {
    const known = connectionOf(manager);
    return known === null || (known === undefined && isWritten()) ? "dead" : known?.status;
  };
  const isVacant = (status: string | undefined) => status === "idle" || ENDED.has(status ?? "");
  const glance = () => {
    if (answered || signal.aborted || store.get("offline") || store.get("absent") !== null) return;
    if (isVacant(statusNow())) store.set({ unheard: true });
    else soon = setTimeout(glance, SOON_MS);
  };
  let soon = setTimeout(glance, SOON_MS);
  // Nobody may be there from the start. A kernel that is busy may answer yet; one that is idle would have.
  const unheard = () => {
    if (answered || signal.aborted) return;
    const status = statusNow();
    if (status === undefined) say(UNKNOWN);
    else if (isVacant(status)) say(NEVER);
    else waiting = setTimeout(unheard, UNHEARD_MS);
  };
  let waiting = setTimeout(unheard, isWritten() && connection === undefined ? 0 : UNHEARD_MS);
  onEnd(signal, () => {
    clearTimeout(waiting);
    clearTimeout(soon);
  });
  return {
    heard: () => {
      answered = true;
      store.set({ unheard: false });
      if (UNANSWERED.includes(store.get("absent"))) say(null);
    },
    failed: ended,
  };
}

/**
 * Whether this page was written to be read: by nbconvert (which nbviewer uses), `embed_minimal_html`, Sphinx, all of which
 * put the widgets' state into it, or by marimo's export.
 */
const isWritten = (): boolean =>
  document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]') !== null ||
  "__MARIMO_STATIC__" in window;

/** The kernel's connection; null where there is no kernel (of one that was shut down some raise), undefined where the host does not tell. */
function connectionOf(manager: unknown): Connection | null | undefined {
  try {
    return (manager as Manager | undefined)?.kernel;
  } catch {
    return null;
  }
}
