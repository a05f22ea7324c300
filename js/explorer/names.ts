/** Short names for layers: the block is said once, above its layers. */

export interface Named {
  name: string;
  /** The module that a run of neighbouring layers shares, "" at the top. */
  group: string;
  short: string;
}

/**
 * Module paths such as `blocks.4.1.conv_pw` as their block (`blocks.4.1`) and their own name (`conv_pw`).
 *
 * A layer named like the block that went before (a residual add has the block's own name) closes that block, under the
 * name of what it does.
 */
export function shorten(layers: readonly { name: string; kind: string }[]): Named[] {
  let before = "";
  return layers.map(({ name, kind }) => {
    const at = name.lastIndexOf(".");
    const closes = name === before;
    const group = closes ? name : name.slice(0, Math.max(0, at));
    before = group;
    return { name, group, short: closes ? kind : name.slice(at + 1) };
  });
}
