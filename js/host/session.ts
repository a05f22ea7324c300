/** One session per widget model: its store, its line to the kernel. All views of the model share it. */
import { onEnd } from "../lib/dom";
import { Store, same } from "../lib/store";
import { type HostSlice, hostSlice, type KernelError, type Session, type Slices } from "../seam";
import { greet } from "./greeting";
import { type Channel, KernelLine, unshown } from "./kernel";
import { GONE, type Presence, watchPresence } from "./presence";

/** The part of anywidget's model that is used; a saved page has one of its own. */
export interface Model extends Channel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  /** The host's, of whatever kind. */
  widget_manager?: unknown;
}

/** What the host does with a state of which it knows no pane's keys. */
type State = HostSlice & Record<string, unknown>;

export function openSession<S extends object = object>(
  model: Model,
  slices: Slices,
  signal: AbortSignal,
  offline = false,
): Session<S> {
  const parts: Slices = [hostSlice, ...slices];
  const initial: State = Object.assign({}, ...parts.map((slice) => slice.initial), { offline });
  const store = new Store(new Store(initial), signal);
  const presence = watchPresence(store as unknown as Store<HostSlice>, model.widget_manager, signal);
  // To a kernel that is gone nothing is sent: there is nobody to tell, and some hosts complain.
  const channel: Channel = {
    send: (...message) => (store.get("absent") === GONE ? undefined : model.send(...message)),
    on: (event, handler) => model.on(event, handler),
    off: (event, handler) => model.off(event, handler),
  };
  const kernel = new KernelLine(
    channel,
    {
      onSlow: (kind, slow) => {
        if (slow) late();
        const others = store.get("slow").filter((one) => one !== kind);
        store.set({ slow: slow ? [...others, kind] : others });
      },
      onError: (kind, error) => showError(store, kind, error),
      onHeard: presence.heard,
      onUnsent: presence.failed,
    },
    signal,
  );
  // What ended long work stays until that begins again: a good answer to a request of its kind says nothing of it.
  kernel.hears("error", ({ kind, error, work }) => {
    const place = work ? `work ${kind}` : String(kind);
    // What was done or begun once more is told once more, and first.
    showError(store, place, null);
    showError(store, place, (error as KernelError | null) ?? null);
  });
  bindTraits(store, model, parts, presence, signal);
  store.onChange(["dragging"], () => store.get("dragging") || kernel.rest());
  const late = greet(kernel, store as unknown as Store<HostSlice>, signal);
  return { store: store as unknown as Store<S & HostSlice>, kernel, signal };
}

/** Show the error of a kind, or take it off. What fails again for the same reason is no newer for that. */
export function showError(store: Store<HostSlice>, kind: string, error: KernelError | null): void {
  const errors = store.get("errors");
  const { [kind]: known, ...others } = errors;
  if (!error) {
    if (known) store.set({ errors: others });
    return;
  }
  const again = known?.name === error.name && known.message === error.message;
  store.set({
    errors: again
      ? { ...errors, [kind]: { ...error, kind, dismissed: known.dismissed ?? false } }
      : { ...others, [kind]: { ...error, kind } },
  });
}

/** Put away the errors of some kinds. */
export function dismissErrors(store: Store<HostSlice>, kinds: readonly string[]): void {
  const errors = { ...store.get("errors") };
  for (const kind of kinds) {
    const error = errors[kind];
    if (error) errors[kind] = { ...error, dismissed: true };
  }
  store.set({ errors });
}

function bindTraits(
  store: Store<State>,
  model: Model,
  parts: Slices,
  presence: Presence,
  signal: AbortSignal,
): void {
  const keys = (of: "writes" | "held" | "given") => parts.flatMap((slice) => (slice[of] ?? []) as string[]);
  const present = (names: string[]) => names.filter((name) => model.get(name) !== undefined);
  const written = present(keys("writes"));
  const heldBack = keys("held");
  const held = (name: string) => store.get("dragging") && heldBack.includes(name);
  const names = [...written, ...present(keys("given"))];
  // All at once: traits that the kernel changed together (a layer and a unit of it) must not be seen half changed.
  let writing = false;
  const read = () => {
    // One's own `set` is announced as well, before the next trait is set.
    if (writing) return;
    // The kernel's echo of an older position must not pull the occluder from under the pointer.
    const free = names.filter((name) => !held(name));
    store.set(Object.fromEntries(free.map((name) => [name, model.get(name)])));
  };
  const update = () => {
    try {
      read();
    } catch (error) {
      showError(store, "update", unshown("update", "What the kernel set", error));
    }
  };
  read();
  for (const name of names) {
    model.on(`change:${name}`, update);
    onEnd(signal, () => model.off(`change:${name}`, update));
  }
  const write = () => {
    if (store.get("absent") === GONE) return;
    let changed = false;
    writing = true;
    for (const name of written) {
      if (held(name) || same(model.get(name), store.get(name))) continue;
      model.set(name, store.get(name));
      changed = true;
    }
    writing = false;
    if (!changed) return;
    try {
      model.save_changes();
    } catch {
      presence.failed();
    }
  };
  store.onChange([...written, "dragging"], write);
}
