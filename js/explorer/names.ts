/** Short names for layers: the block is said once, above its layers. */

export interface Named {
  name: string;
  /** The module that a run of neighbouring layers shares, "" at the top. */
  group: string;
  short: string;
}

/** A module path such as `blocks.4.1.conv_pw` as its block (`blocks.4.1`) and its own name (`conv_pw`). */
export function shorten(name: string): Named {
  const at = name.lastIndexOf(".");
  return { name, group: name.slice(0, Math.max(0, at)), short: name.slice(at + 1) };
}
