/** One session per widget model: its store, its line to the kernel. All views of the model share it. */
import { type Channel, Kernel, type KernelError, SLOW_MS } from "./lib/kernel";
import { Store, same } from "./lib/store";
import { GIVEN, initial, SHARED, type State } from "./state";

/** The part of anywidget's model that is used; a saved page has one of its own. */
export interface Model extends Channel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
}

export interface Session {
  store: Store<State>;
  kernel: Kernel;
  /** Ends with the model, not with a view. */
  signal: AbortSignal;
}

/** Written to the kernel only when the pointer is up: while it is down, requests carry them. */
const HELD: readonly string[] = ["position", "size", "opacity"];

/** A front end without such a thread is not asked for ever. */
const GREETINGS = 6;

export function openSession(model: Model, signal: AbortSignal): Session {
  const store = new Store<State>(initial);
  const kernel = new Kernel(
    model,
    {
      onSlow: (kind, slow) => {
        if (slow) urge(SLOW_MS);
        const others = store.get("slow").filter((one) => one !== kind);
        store.set({ slow: slow ? [...others, kind] : others });
      },
      onError: (kind, error) => {
        const { [kind]: known, ...others } = store.get("errors");
        if (error) store.set({ errors: { ...others, [kind]: error } });
        else if (known) store.set({ errors: others });
      },
      onEvent: (event, content) => {
        if (event === "hello") heard(content.main === true);
        if (event === "trail") store.set({ trail: { number: content.trail as number, visited: [] } });
        // What ended long work stays until that begins again: a good answer to a request of its kind says nothing of it.
        if (event === "error") {
          const kind = `work ${content.kind}`;
          const { [kind]: _, ...others } = store.get("errors");
          const error = content.error as KernelError | null;
          store.set({ errors: error ? { ...others, [kind]: { ...error, kind } } : others });
        }
      },
    },
    signal,
  );
  bindTraits(store, model, signal);
  // JupyterLab moves a widget's messages to a thread beside the cells' only after the first few: let these not be the
  // person's, who would wait for a busy cell. What went the old way none the less is sent again on the new one.
  let greetings = 0;
  let beside = false;
  let urging = false;
  function greet(): void {
    greetings += 1;
    kernel.tell("hello");
  }
  function heard(main: boolean): void {
    if (main) {
      if (greetings < GREETINGS) greet();
    } else if (!beside) {
      beside = true;
      kernel.repeat();
    }
  }
  /** An answer is late: find out, at longer and longer intervals, whether there is another way by now. */
  function urge(pause: number): void {
    if (beside || urging || signal.aborted || !kernel.awaiting) return;
    urging = true;
    kernel.tell("hello");
    setTimeout(() => {
      urging = false;
      urge(2 * pause);
    }, pause);
  }
  greet();
  return { store, kernel, signal };
}

function bindTraits(store: Store<State>, model: Model, signal: AbortSignal): void {
  const present = (names: readonly (keyof State)[]) => names.filter((name) => model.get(name) !== undefined);
  const shared = present(SHARED);
  const held = (name: string) => store.get("dragging") && HELD.includes(name);
  const names = [...shared, ...present(GIVEN)];
  // All at once: traits that the kernel changed together (a layer and a unit of it) must not be seen half changed.
  let writing = false;
  const read = () => {
    // One's own `set` is announced as well, before the next trait is set.
    if (writing) return;
    // The kernel's echo of an older position must not pull the occluder from under the pointer.
    const free = names.filter((name) => !held(name));
    store.set(Object.fromEntries(free.map((name) => [name, model.get(name)])) as Partial<State>);
  };
  read();
  for (const name of names) {
    model.on(`change:${name}`, read);
    signal.addEventListener("abort", () => model.off(`change:${name}`, read));
  }
  const write = () => {
    let changed = false;
    writing = true;
    for (const name of shared) {
      if (held(name) || same(model.get(name), store.get(name))) continue;
      model.set(name, store.get(name));
      changed = true;
    }
    writing = false;
    if (changed) model.save_changes();
  };
  store.onChange([...shared, "dragging"], write, signal);
}
